"""What pages that fine-tune in parts share: which parameters learn, and from when on."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
from flax.traverse_util import flatten_dict

from dlcore.optim.partial import (
    Part,
    is_matched,
    layer_parts,
    layers_of,
    parse_part,
    part_labels,
    part_of,
    scale_by_layer,
)
from dlcore.setting import FlagError

__all__ = ["check_parts", "fit_parts", "parts_of", "unfold_gradual"]

GRADUAL = "gradual"


def parts_of(flags: Any) -> tuple[Part, ...]:
    """Read the parts that learn.

    Args:
      flags: `dlcore.optim.partial.PartsAdamW`, or flags with `parts`.

    Returns:
      The parts, in their order.

    Raises:
      FlagError: one is malformed.
    """
    try:
        return tuple(parse_part(text) for text in flags.parts)
    except ValueError as error:
        raise FlagError(f"--parts: {error}") from None


def unfold_gradual(flags: Any, init: Callable[[], Any]) -> Any:
    """Replace `--parts=gradual:DECAY@SHARE` by a part for each layer.

    Args:
      flags: `parts`.
      init: initializes the network's variables; it is traced, not run.

    Returns:
      The flags, as they are where no part is `gradual`.

    Raises:
      FlagError: a number is out of range, or there are other parts beside it.
    """
    parts = parts_of(flags)
    if not any(part.pattern == GRADUAL for part in parts):
        return flags
    if len(parts) > 1:
        raise FlagError(f"--parts={','.join(flags.parts)}: more than {GRADUAL}; allowed: {GRADUAL}:DECAY@SHARE alone")
    try:
        unfolded = layer_parts(_layers(init), *next((part.rate, part.start) for part in parts))
    except ValueError as error:
        raise FlagError(f"--parts={flags.parts[0]}: {error}, such as {GRADUAL}:0.4@0.5") from None
    return flags.replace(parts=_texts(unfolded))


def fit_parts(flags: Any, init: Callable[[], Any]) -> Any:
    """Read a page's own parts for another network: what names no parameter there names its last stage.

    The last stage is the last quarter of the layers that no earlier part names, such as the blocks 9 to 11 of twelve.

    Args:
      flags: `parts`, as the page has them.
      init: initializes the network's variables; it is traced, not run.

    Returns:
      The flags, as they are where each part names a parameter.
    """
    parts, layers, fitted = parts_of(flags), _layers(init), []
    names = flatten_dict(jax.eval_shape(init)["params"], sep="/")
    for part in parts:
        if part.pattern == GRADUAL or any(is_matched(name, part.pattern) for name in names):
            fitted.append(part)
            continue
        left = [paths for paths in layers if any(part_of(path, fitted) is None for path in paths)]
        last = left[-max(1, len(left) // 4) :]
        fitted += [part._replace(pattern=path) for paths in last for path in paths if part_of(path, fitted) is None]
    return flags if tuple(fitted) == parts else flags.replace(parts=_texts(fitted))


def _texts(parts: Iterable[Part]) -> tuple[str, ...]:
    return tuple(f"{part.pattern}:{part.rate!r}@{part.start!r}" for part in parts)


def _layers(init: Callable[[], Any]) -> list[tuple[str, ...]]:
    """List the layers of a network in their order, without computing it."""
    layers: list[tuple[str, ...]] = []

    def trace() -> None:
        layers[:] = layers_of(init()["params"])

    jax.eval_shape(trace)
    return layers


def check_parts(flags: Any, params: Any) -> None:
    """Check that the parts and the layer-wise decay name parameters of the network.

    Args:
      flags: `dlcore.optim.partial.PartsAdamW`, or flags with `parts` and `layer_decay`.
      params: parameters of the network, or their shapes.

    Raises:
      FlagError: they do not.
    """
    parts = parts_of(flags)
    try:
        part_labels(params, parts)
    except ValueError as error:
        raise FlagError(f"--parts: {error}") from None
    if flags.layer_decay is not None:
        try:
            scale_by_layer(flags.layer_decay).init(params)
        except ValueError as error:
            raise FlagError(f"--{error}") from None
