"""Time dlcore's layers and losses against flax's, jax's or optax's own, and against torch where it is installed.

python -m experiments.bench.layers
python -m experiments.bench.layers --only=norm --num_repeats=21

Forward, and forward with backward (gradients of parameters and input), each the median of interleaved turns; a ratio
above one means that dlcore is faster. No layer of ours should run at less than 0.95x the speed of the plain one. Layers
that dlcore re-exports are not timed.

Measured on two cores, plain time over ours, forward and with backward: batch norm 1.07x and 2.19x (56x56x64), 1.08x and
1.76x (14x14x256); group norm 2.97x and 1.48x; conv 3x3 1.00x and 1.00x, 1x1 2.00x and 3.66x; patches 1.49x and 1.21x;
depthwise 66x and 35x; transposed 0.93x and 16x; max pool 3.3x and 16x; average pool 1.44x and 1.35x; cross-entropy
1.01x and 1.02x.
"""

import functools
import importlib.util
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import dlcore.losses
import dlcore.nn
import dlcore.ops
from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.run import provenance
from experiments.bench.timing import Times, bar_chart, interleaved, ratio

LEAST = 0.95
"""The speed of the plain layer that ours should reach."""


class Case(NamedTuple):
    """A layer of dlcore, its plain flax, jax or optax form, the input's shape, and torch -> torch's module."""

    ours: Any
    plain: Any
    shape: tuple[int, ...]
    torch: Callable[[Any], Any] | None = None


def _norm(module, **fields):
    return module(use_running_average=False, **fields)


def _batched_loss(function):
    labels = jnp.arange(256) % 1000
    return lambda x: function(x, labels)


CASES = {
    "batch norm, 56x56x64": Case(
        _norm(dlcore.nn.BatchNorm), _norm(nn.BatchNorm), (16, 56, 56, 64), lambda t: t.nn.BatchNorm2d(64)
    ),
    "batch norm, 14x14x256": Case(
        _norm(dlcore.nn.BatchNorm), _norm(nn.BatchNorm), (16, 14, 14, 256), lambda t: t.nn.BatchNorm2d(256)
    ),
    "group norm, 32x32x64": Case(
        dlcore.nn.GroupNorm(8), nn.GroupNorm(8), (16, 32, 32, 64), lambda t: t.nn.GroupNorm(8, 64)
    ),
    "conv 3x3, 28x28x64": Case(
        dlcore.nn.Conv(64, (3, 3), padding=1),
        nn.Conv(64, (3, 3), padding=1),
        (8, 28, 28, 64),
        lambda t: t.nn.Conv2d(64, 64, 3, padding=1),
    ),
    "conv 1x1, 28x28x256": Case(
        dlcore.nn.Conv(64, (1, 1)), nn.Conv(64, (1, 1)), (8, 28, 28, 256), lambda t: t.nn.Conv2d(256, 64, 1)
    ),
    "patches 4x4, 64x64x3": Case(
        dlcore.nn.Conv(96, (4, 4), 4, padding="VALID"),
        nn.Conv(96, (4, 4), 4, padding="VALID"),
        (8, 64, 64, 3),
        lambda t: t.nn.Conv2d(3, 96, 4, 4),
    ),
    "depthwise 3x3, 28x28x128": Case(
        dlcore.nn.Conv(128, (3, 3), feature_group_count=128),
        nn.Conv(128, (3, 3), feature_group_count=128),
        (8, 28, 28, 128),
        lambda t: t.nn.Conv2d(128, 128, 3, padding=1, groups=128),
    ),
    "transposed conv 4x4, 16x16x64": Case(
        dlcore.nn.ConvTranspose(32, (4, 4), strides=(2, 2), padding="SAME"),
        nn.ConvTranspose(32, (4, 4), strides=(2, 2), padding="SAME"),
        (8, 16, 16, 64),
        lambda t: t.nn.ConvTranspose2d(64, 32, 4, 2, 1),
    ),
    "max pool 3x3, 56x56x64": Case(
        lambda x: dlcore.ops.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1))),
        lambda x: nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1))),
        (8, 56, 56, 64),
        lambda t: t.nn.MaxPool2d(3, 2, 1),
    ),
    "average pool 2x2, 56x56x64": Case(
        lambda x: dlcore.ops.avg_pool(x, (2, 2), (2, 2)),
        lambda x: nn.avg_pool(x, (2, 2), (2, 2)),
        (8, 56, 56, 64),
        lambda t: t.nn.AvgPool2d(2),
    ),
    "cross-entropy, 256x1000": Case(
        _batched_loss(dlcore.losses.softmax_cross_entropy_loss),
        _batched_loss(optax.softmax_cross_entropy_with_integer_labels),
        (256, 1000),
    ),
}


def jax_functions(layer: Any, x: jax.Array) -> dict[str, Callable]:
    """The compiled forward pass, and that with the gradients of parameters and input."""
    if isinstance(layer, nn.Module):
        variables = jax.jit(layer.init)(jax.random.key(0), x)

        def apply(variables, x):
            return layer.apply(variables, x, mutable=["batch_stats"])[0]
    else:
        variables = {}

        def apply(variables, x):
            return layer(x)

    def both(variables, x):
        y, pull = jax.vjp(apply, variables, x)
        return pull(y)

    forward, backward = (jax.jit(f).lower(variables, x).compile() for f in (apply, both))
    return {"forward": functools.partial(forward, variables, x), "backward": functools.partial(backward, variables, x)}


def torch_functions(make: Callable, x: np.ndarray) -> dict[str, Callable]:
    """The same of a torch module, on images with the channels first."""
    import torch

    module = make(torch)
    x = torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1))).requires_grad_(True)

    def forward():
        with torch.no_grad():
            return module(x).numpy()

    def backward():
        module.zero_grad()
        x.grad = None
        y = module(x)
        y.backward(y.detach())
        return x.grad.numpy()

    return {"forward": forward, "backward": backward}


def times_of(case: Case, num_repeats: int) -> dict[str, Times]:
    """{"ours, forward": times, ...} of every implementation."""
    x = np.random.default_rng(0).normal(size=case.shape).astype(np.float32)
    functions = {"ours": jax_functions(case.ours, jnp.asarray(x)), "plain": jax_functions(case.plain, jnp.asarray(x))}
    if case.torch is not None and importlib.util.find_spec("torch") is not None:
        functions["torch"] = torch_functions(case.torch, x)
    calls = {f"{name}, {way}": call for name, ways in functions.items() for way, call in ways.items()}
    return interleaved(calls, num_repeats, least_seconds=0.01)


def measure(*, only: str = "", num_repeats: PositiveInt = 21) -> StudyResult:
    """Time every layer."""
    cases = {name: case for name, case in CASES.items() if only in name}
    if not cases:
        raise ValueError(f"only={only!r}: in no name; allowed: a part of {', '.join(CASES)}")
    ratios: dict[str, dict[str, float]] = {}
    numbers = {}
    for name, case in cases.items():
        times = times_of(case, num_repeats)
        keys = [key for key in times if not key.startswith("ours")]
        pairs = {key: ratio(times, key, f"ours, {key.partition(', ')[2]}") for key in keys}
        ratios[name] = {key: pair.median for key, pair in pairs.items()}
        for key, pair in pairs.items():
            numbers |= pair.rows(f"{name}: {key} over ours")
    slow = [f"{name} ({key})" for name, r in ratios.items() for key, x in r.items() if "plain" in key and x < LEAST]
    verdict = (
        f"{provenance.hardware()}: slower than {LEAST}x the plain layer: {', '.join(slow) or f'none of {len(cases)}'}."
    )
    figure = bar_chart(ratios, "time over dlcore's", log=True)
    headline = Headline(
        "time over ours, geometric mean",
        math.exp(np.mean([math.log(x) for r in ratios.values() for x in r.values()])),
        "synthetic",
        tolerance=0.5,
    )
    return StudyResult(numbers, verdict, {"ratios": figure}, not slow, headline)


experiment = Study(__file__, __doc__, measure, smoke={"only": "batch norm, 14x14x256", "num_repeats": 2})

if __name__ == "__main__":
    main(experiment)
