"""Time one convolution by every algorithm that dlcore has, as ratios to lax's measured in one run.

python -m experiments.bench.conv_algorithms
python -m experiments.bench.conv_algorithms --num_repeats=9

The algorithms: lax, dlcore's replacement for it, a matrix product with im2col's rows, Fourier transforms, and
Winograd's F(2x2, 3x3), on images and kernels of several sizes; then depthwise convolutions, where dlcore adds up
shifted images on a CPU, and dilated ones, beside their form as plain convolutions of every d-th pixel. Forward and
backward (both gradients), each as the median of interleaved turns. Only dlcore's replacement is claimed to win.

On a CPU, lax is timed once more: as jaxlib 0.10 compiles it by default, by YNNPACK; dlcore's command lines have Eigen
compute convolutions (`dlcore.run.xla_flags`).

Measured on two quiet cores (Intel Xeon with AVX-512, jax 0.10.2), depthwise, lax over dlcore: 3x3 34x forward and 12x
backward, 7x7 32x and 8x.
"""

import functools
import os
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.ops import conv_fft, conv_general_dilated, conv_im2col, conv_winograd
from dlcore.ops.winograd import winograd_multiplications
from dlcore.run import provenance
from dlcore.run.xla_flags import CPU_CONVOLUTIONS
from experiments.bench.timing import Times, bar_chart, interleaved, ratio

YNNPACK = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION"}
"""The option of XLA's compiler by which YNNPACK computes convolutions."""

NHWC = ("NHWC", "HWIO", "NHWC")

# batch, size, channels, features, kernel
LAYERS = {
    "early, 3x3": (8, 56, 64, 64, 3),
    "late, 3x3": (8, 14, 256, 256, 3),
    "5x5": (8, 28, 32, 64, 5),
    "11x11": (8, 28, 16, 16, 11),
    "31x31": (4, 56, 8, 8, 31),
    "depthwise 3x3": (8, 32, 64, 1, 3),
    "depthwise 7x7": (8, 32, 64, 1, 7),
    "dilated by 6, 3x3": (1, 40, 512, 256, 3),
    "dilated by 12, 3x3": (1, 40, 512, 256, 3),
    "dilated by 18, 3x3": (1, 40, 512, 256, 3),
    "tiny, 3x3": (1, 8, 4, 4, 3),
}


def same_padded(function: Callable, x: jax.Array, w: jax.Array, groups: int = 1, dilation: int = 1) -> jax.Array:
    apart = (dilation, dilation)
    return function(x, w, (1, 1), "SAME", rhs_dilation=apart, dimension_numbers=NHWC, feature_group_count=groups)


def space_to_batch(x: jax.Array, w: jax.Array, dilation: int) -> jax.Array:
    """A dilated convolution as d^2 plain ones, on the pixels whose row and column have the same remainders."""
    batch, height, width, channels = x.shape
    d, reach = dilation, w.shape[0] // 2 * dilation
    rows, columns = (-(-n // d) * d - n for n in (height, width))
    x = jnp.pad(x, ((0, 0), (reach, reach + rows), (reach, reach + columns), (0, 0)))
    parts = x.reshape(batch, x.shape[1] // d, d, x.shape[2] // d, d, channels).transpose(2, 4, 0, 1, 3, 5)
    parts = parts.reshape(-1, *parts.shape[3:])
    y = conv_general_dilated(parts, w, (1, 1), "VALID", dimension_numbers=NHWC)
    y = y.reshape(d, d, batch, *y.shape[1:]).transpose(2, 3, 0, 4, 1, 5)
    return y.reshape(batch, y.shape[1] * d, y.shape[3] * d, -1)[:, :height, :width]


def algorithms(kernel: int, groups: int, dilation: int = 1) -> dict[str, Callable]:
    """Every algorithm for a kernel of that size; lax and its replacement alone for several groups."""
    functions = {
        "lax": functools.partial(same_padded, lax.conv_general_dilated, groups=groups, dilation=dilation),
        "dlcore": functools.partial(same_padded, conv_general_dilated, groups=groups, dilation=dilation),
    }
    if dilation > 1:
        return functions | {"space to batch": functools.partial(space_to_batch, dilation=dilation)}
    if groups > 1:
        return functions
    functions |= {"im2col": conv_im2col, "fft": conv_fft} | ({"winograd": conv_winograd} if kernel == 3 else {})
    return {
        name: f if name in ("lax", "dlcore") else functools.partial(f, padding="SAME") for name, f in functions.items()
    }


def normal(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def timed(functions: dict[str, Callable], x: jax.Array, w: jax.Array, num_repeats: int) -> dict[str, dict[str, Times]]:
    """{"forward", "backward"} -> times of each algorithm, after a comparison of its result with lax's."""
    if jax.default_backend() == "cpu" and CPU_CONVOLUTIONS in os.environ.get("XLA_FLAGS", ""):
        functions = functions | {"lax by YNNPACK": functions["lax"]}

    def compiled(name: str, f: Callable) -> Callable:
        uncached = jax.jit(lambda *args: f(*args))  # what was lowered once is not lowered anew
        return uncached.lower(x, w).compile(YNNPACK if name == "lax by YNNPACK" else None)

    forward = {name: compiled(name, f) for name, f in functions.items()}
    expected = forward["lax"](x, w)
    for name, f in forward.items():
        error = float(jnp.abs(f(x, w) - expected).max() / jnp.abs(expected).max())
        if error > 1e-4:
            raise ValueError(f"{name} differs from lax by {error:.1e} of the largest value; allowed: 1e-4")

    def backward(name: str, f: Callable) -> Callable:
        return compiled(name, jax.grad(lambda x, w: jnp.vdot(f(x, w), expected), (0, 1)))

    both = {"forward": forward, "backward": {name: backward(name, f) for name, f in functions.items()}}
    return {
        way: interleaved({name: functools.partial(f, x, w) for name, f in group.items()}, num_repeats)
        for way, group in both.items()
    }


def measure(*, only: str = "", num_repeats: PositiveInt = 5) -> StudyResult:
    """Time every algorithm on every layer.

    Args:
      only: layers whose name contains this text; empty times all but the tiny one of the smoke run.
    """
    layers = {name: sizes for name, sizes in LAYERS.items() if (only in name if only else "tiny" not in name)}
    if not layers:
        raise ValueError(f"only={only!r}: in no name; allowed: a part of {', '.join(LAYERS)}")
    numbers, medians = {}, {}
    for title, (batch_size, size, channels, features, kernel) in layers.items():
        groups = channels if "depthwise" in title else 1
        dilation = int(title.split()[2].rstrip(",")) if "dilated" in title else 1
        x = normal(0, batch_size, size, size, channels)
        w = normal(1, kernel, kernel, channels // groups, channels if groups > 1 else features)
        for way, times in timed(algorithms(kernel, groups, dilation), x, w, num_repeats).items():
            ratios = {name: ratio(times, "lax", name) for name in times if name != "lax"}
            numbers[f"{title}, {way}: ms, lax"] = 1e3 * times["lax"].median
            for name, value in ratios.items():
                numbers |= value.rows(f"{title}, {way}: lax over {name}")
            medians[f"{title}, {way}"] = {name: value.median for name, value in ratios.items()}
    saved = winograd_multiplications(56, 56)
    best = {title: max(ratios, key=ratios.get) for title, ratios in medians.items()}
    verdict = f"{provenance.hardware()}: fastest beside lax: " + ", ".join(
        f"{title} {name} ({medians[title][name]:.2f}x)" for title, name in best.items()
    )
    verdict += (
        f". Winograd needs {saved['winograd']:,} multiplications for a channel of 56x56, lax {saved['direct']:,}."
    )
    figure = bar_chart(medians, "lax's time over the algorithm's", log=True)
    headline = Headline(
        f"lax's time over the fastest other's, {next(iter(best))}",
        max(next(iter(medians.values())).values()),
        "synthetic",
        tolerance=0.5,
    )
    return StudyResult(numbers, verdict, {"ratios": figure}, headline=headline)


experiment = Study(__file__, __doc__, measure, smoke={"only": "tiny", "num_repeats": 1})

if __name__ == "__main__":
    main(experiment)
