"""Collectives of a data-parallel training step by formula, beside those of its compiled program.

Bytes of the buffers of each kind, over the axis `data`:

    rule       all-reduce       all-gather
    replicate  G + T + 12 C     M                 G: gradients;  T: parameters that the loss uses twice, again
    zero1      G + T + 12 C     M + S             C: channels of batch norms, two sums forward and one backward
    fsdp       G + T + 12 C     M + 2 S           M: what mixup takes from other examples;  S: leaves that are split

zero1 gathers each split parameter once, after its update (Rajbhandari et al. 2020, arXiv:1910.02054); fsdp gathers it
in the forward and in the backward pass. A compiler may turn an all-reduce whose result is split into a reduce-scatter
of the same buffer, and gather once where it keeps what it gathered. What a program has beyond the formula, such as an
all-gather of the batch's features, costs time at each step: `unexpected_collectives` names it.
"""

import math
from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Literal

from dlcore.choices import check_choice, check_whole_number
from dlcore.cost.collectives import Collective

__all__ = ["bytes_by_axis", "data_parallel_bytes", "unexpected_collectives"]

STATISTICS_BYTES = 3 * 4
"""Of a channel of a batch norm: the sums of values and of squares, and in the backward pass one more."""
PIECES = {"all-reduce": ("all-reduce", "reduce-scatter"), "all-gather": ("all-gather",)}
"""Kinds that count as one: the compiler chooses between them."""


def data_parallel_bytes(
    rule: Literal["replicate", "zero1", "fsdp"],
    *,
    gradients: int,
    split: int = 0,
    twice: int = 0,
    norm_channels: int = 0,
    mixed: int = 0,
) -> dict[str, int]:
    """Bytes of the buffers of a step's collectives over `data`, by the formula above.

    Args:
      rule: sharding rule.
      gradients: G, bytes of all gradients.
      split: S, bytes of the leaves that the rule splits.
      twice: T, bytes of the parameters with two gradients that are summed, such as an embedding that is the head.
      norm_channels: C, channels of all batch norms.
      mixed: M, bytes of images and targets that mixup gathers.

    Returns:
      {"all-reduce": bytes, "all-gather": bytes}.
    """
    check_choice("rule", rule, ("replicate", "zero1", "fsdp"))
    numbers = {"gradients": gradients, "split": split, "twice": twice, "norm_channels": norm_channels, "mixed": mixed}
    for name, number in numbers.items():
        check_whole_number(name, number, 0)
    return {
        "all-reduce": gradients + twice + STATISTICS_BYTES * norm_channels,
        "all-gather": mixed + {"replicate": 0, "zero1": 1, "fsdp": 2}[rule] * split,
    }


def bytes_by_axis(operations: Iterable[Collective], axes: Mapping[str, int]) -> dict[tuple[str, str], int]:
    """Sum the buffers of collectives by kind and by mesh axis.

    Args:
      operations: such as `dlcore.cost.collectives.collectives` gives.
      axes: {axis of the mesh: its size}; the sizes of different sets of axes must differ, as groups of devices are told
        apart by their size.

    Returns:
      {(kind, axes such as "data" or "data+model"): bytes}.
    """
    names: dict[int, str] = {}
    large = [axis for axis, size in axes.items() if size > 1]
    for count in range(1, len(large) + 1):
        for some in combinations(large, count):
            size = math.prod(axes[axis] for axis in some)
            if size in names:
                raise ValueError(f"axes={dict(axes)}: {size} devices are two sets of axes; allowed: different sizes")
            names[size] = "+".join(some)
    table: dict[tuple[str, str], int] = {}
    for c in operations:
        if c.devices not in names:
            raise ValueError(f"operations: a group of {c.devices} devices; allowed: {', '.join(map(str, names))}")
        key = c.kind, names[c.devices]
        table[key] = table.get(key, 0) + c.times * c.bytes
    return table


def unexpected_collectives(
    operations: Iterable[Collective], axes: Mapping[str, int], expected: Mapping[str, int], slack: int = 2**14
) -> list[str]:
    """List what a program sends beyond a formula.

    Args:
      operations: such as `dlcore.cost.collectives.collectives` gives.
      axes: {axis of the mesh: its size}, see `bytes_by_axis`.
      expected: result of `data_parallel_bytes`.
      slack: bytes that may be there of each kind without a formula, such as those of metrics.

    Returns:
      A line for each kind and axis that is not in the formula, or has more bytes; empty where the program fits.
    """
    check_whole_number("slack", slack, 0)
    operations = list(operations)
    of_kind = {kind: whole for whole, kinds in PIECES.items() for kind in kinds}
    merged = [c._replace(kind=of_kind.get(c.kind, c.kind)) for c in operations]
    return [
        f"{kind} over {axis}: {size:,} bytes; the formula has {allowed:,}"
        for (kind, axis), size in bytes_by_axis(merged, axes).items()
        if size > (allowed := expected.get(kind, 0) if axis == "data" else 0) + slack
    ]
