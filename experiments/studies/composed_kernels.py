"""Two 3x3 convolutions without a nonlinearity between them are one 5x5 convolution; with one they are not.

python -m experiments.studies.composed_kernels

    y[n] = sum_u K2[u] sum_v K1[v] x[n + u + v]     =  sum_w K[w] x[n + w],     K[w] = sum_{u + v = w} K1[v] K2[u]

The two random layers and the composed kernel K run on random images without padding (with zeros around the image they
differ at its border). With a rectifier between the layers, the best 5x5 kernel is found by least squares, and the share
of the outputs' variance that it leaves is measured. The claim holds where on every seed the composed kernel is within
1e-5 of the two layers, relative to their largest output, and the best kernel leaves more than a tenth of the variance
of the rectified ones. Two layers of C channels have 18 C^2 weights, the one 25 C^2.

Reference: Simonyan & Zisserman 2014, arXiv:1409.1556, section 2.3.
"""

from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.experiment import Headline, PositiveInt, Range, Study, StudyResult
from dlcore.main import main
from dlcore.report.figure import BLUE, VERMILION, new_figure, seed_dots

ROUNDING = 1e-5
"""Relative difference of two results that are equal in exact arithmetic."""
LEFT = 0.1
"""Share of the variance that no 5x5 kernel explains where there is a rectifier."""


def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolve [B, H, W, C] with [k, k, C, D], without padding."""
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def compose(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Compose two kernels [k, k, A, B] and [m, m, B, C] into one of [k + m - 1, k + m - 1, A, C]."""
    k, m = len(first), len(second)
    composed = np.zeros((k + m - 1, k + m - 1, first.shape[2], second.shape[3]))
    for row in range(m):
        for column in range(m):
            composed[row : row + k, column : column + k] += first @ second[row, column]
    return composed


def unexplained(x: np.ndarray, y: np.ndarray) -> float:
    """Share of the variance of outputs [B, H - 4, W - 4, C] that the best 5x5 kernel and bias leave."""
    windows = np.lib.stride_tricks.sliding_window_view(x, (5, 5), (1, 2)).reshape(-1, 25 * x.shape[-1])
    inputs = np.concatenate([windows, np.ones((len(windows), 1))], 1)
    outputs = y.reshape(-1, y.shape[-1])
    rest = outputs - inputs @ np.linalg.lstsq(inputs, outputs, rcond=None)[0]
    return float(np.square(rest).sum() / np.square(outputs - outputs.mean(0)).sum())


def measure(seed: int, channels: int, size: int, count: int) -> dict[str, float]:
    """Difference of the composed kernel from the two layers, and unexplained shares without and with a rectifier."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, size, size, channels)).astype(np.float32)
    first, second = rng.normal(size=(2, 3, 3, channels, channels)).astype(np.float32) / np.sqrt(9 * channels)
    one = convolve(x, jnp.asarray(compose(first, second), jnp.float32))
    hidden = convolve(x, first)
    two, rectified = convolve(hidden, second), convolve(jax.nn.relu(hidden), second)
    return {
        "difference": float(jnp.abs(one - two).max() / jnp.abs(two).max()),
        "unexplained, linear": unexplained(x, np.asarray(two)),
        "unexplained, rectified": unexplained(x, np.asarray(rectified)),
    }


def report(numbers: dict[str, list[float]]) -> StudyResult:
    """Judge {number: one a seed} of `measure`."""
    difference, linear, rectified = numbers.values()
    holds = max(difference) <= ROUNDING and max(linear) <= ROUNDING and min(rectified) > LEFT
    verdict = (
        f"The composed 5x5 kernel differs from the two 3x3 layers by {max(difference):.0e} of the largest output. With "
        f"a rectifier between them the best 5x5 kernel leaves {100 * np.mean(rectified):.0f} % of the variance."
    )
    figure, axes = new_figure((4, 3))
    seed_dots(axes, {"linear": linear, "rectified": rectified}, (BLUE, VERMILION))
    axes.set(ylabel="share left by the best 5x5 kernel", ylim=(-0.02, None))
    headline = Headline(
        "share of the variance that the best 5x5 kernel leaves of rectified layers", rectified, "random images", 0.1
    )
    return StudyResult(numbers, verdict, {"one kernel for two layers": figure}, holds, headline)


def study(
    *,
    num_seeds: PositiveInt = 3,
    channels: PositiveInt = 4,
    size: Annotated[int, Range(5)] = 24,
    count: PositiveInt = 8,
) -> StudyResult:
    """Compare two layers with one.

    Args:
      num_seeds: random kernels and images.
      channels: number of channels of every layer.
      size: side of the images, in pixels.
      count: images.
    """
    rows = [measure(seed, channels, size, count) for seed in range(num_seeds)]
    return report({name: [row[name] for row in rows] for name in rows[0]})


experiment = Study(__file__, __doc__, study, smoke={"num_seeds": 1, "channels": 2, "size": 12})

if __name__ == "__main__":
    main(experiment)
