"""Figure of dlcore.ops.transposed_convolution; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.ops.transposed_convolution import conv_transpose
from dlcore.report.figure import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["transposed_convolution"]


def transposed_convolution() -> "Figure":
    """Left: the matrix of a transposed convolution of one axis, with a kernel of 3 taps and stride 2.

    Each input value puts the kernel, times itself, into its column. On the right, kernels of ones on 6 x 6 inputs of
    one: 3 x 3 at stride 2 overlap unevenly, which gives a checkerboard; 4 x 4 at stride 2 overlap evenly inside.
    """
    figure, (left, middle, right) = new_figure((7, 2.8), 1, 3)
    kernel = jnp.array([1.0, 3.0, 2.0])[:, None, None]
    matrix = jax.jacobian(lambda x: conv_transpose(x[None, :, None], kernel, 2)[0, :, 0])(jnp.ones(6))
    left.imshow(matrix, cmap="Blues", vmax=6, aspect="auto")
    for (row, column), value in np.ndenumerate(np.asarray(matrix)):
        left.text(column, row, f"{value:.0f}" if value else "", ha="center", va="center", fontsize=8)
    left.set(xlabel="input", ylabel="output", xticks=range(6))
    for ax, taps in ((middle, 3), (right, 4)):
        overlaps = conv_transpose(jnp.ones((1, 6, 6, 1)), jnp.ones((taps, taps, 1, 1)), 2)[0, ..., 0]
        image = ax.imshow(overlaps, cmap="Blues", vmin=0, vmax=4)
        ax.set(xlabel=f"output, kernel {taps} x {taps}", xticks=[], yticks=[])
    figure.colorbar(image, ax=(middle, right), label="overlapping kernels", shrink=0.7, ticks=range(5))
    return figure
