"""Figure of dlcore.nn.weight_norm; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.nn.weight_norm import spectral_norm, standardize_weight
from dlcore.nn.weight_norm import weight_norm as normalize
from dlcore.report.figure import BLUE, GRAY, GREEN, PALETTE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["weight_norm"]


def weight_norm() -> "Figure":
    """Left: singular values of a kernel of 128 inputs and 64 outputs, plain and after each way of normalization.

    Spectral norm divides all by the largest, so the layer lengthens no vector; weight norm makes each column 1 long and
    leaves the shape of the spectrum. Right: the largest singular value after some steps of the power iteration from
    random starts; with too few steps it is above 1.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    key = jax.random.key(0)
    kernel = 0.05 * jax.random.normal(key, (128, 64)) * jnp.logspace(0.3, -0.3, 64)
    start = jax.random.normal(key, (64,))
    kinds = (
        ("plain", kernel, GRAY, "-"),
        ("spectral norm", spectral_norm(kernel, start, 100)[0], VERMILION, "--"),
        ("weight norm", normalize(kernel), BLUE, "-."),
        ("standardized / 10", standardize_weight(kernel) / 10, GREEN, ":"),
    )
    for name, matrix, color, style in kinds:
        left.plot(range(1, 65), np.linalg.svd(np.asarray(matrix), compute_uv=False), style, color=color, label=name)
    left.set(xlabel="number", ylabel="singular value", ylim=(0, None))
    left.legend(frameon=False, fontsize=8)
    steps = range(1, 16)
    for number in range(5):
        u = jax.random.normal(jax.random.key(number), (64,))
        tops = [np.linalg.norm(np.asarray(spectral_norm(kernel, u, count)[0]), 2) for count in steps]
        right.plot(steps, tops, ".-", color=PALETTE[number], alpha=0.8)
    right.axhline(1, color=GRAY, linestyle="--", linewidth=0.8)
    right.set(xlabel="steps of the power iteration", ylabel="largest singular value", xticks=[1, 5, 10, 15])
    return figure
