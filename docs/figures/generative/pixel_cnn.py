"""Figure of dlcore.generative.pixel_cnn; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import numpy as np
from flax import linen as nn

from dlcore.generative.pixel_cnn import PixelCNN
from dlcore.nn.masked_conv import MaskedConv
from dlcore.report.figure import BLUE, VERMILION, new_figure
from experiments.figure_parts import influence_by_pixel, nonzero_variables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["pixel_cnn"]


def pixel_cnn() -> "Figure":
    """Which of the earlier pixels reach the prediction of one pixel (circle) through five layers at random weights.

    Left: one stack of masked convolutions is blind above to the right. Middle: the gated PixelCNN's vertical stack
    reads the rows above, and its horizontal stack the row itself. Right: pixels that are read in each row; the gated
    network misses none within its reach of five pixels.
    """
    figure, (left, middle, right) = new_figure((7.2, 2.6), 1, 3, width_ratios=(1, 1, 1.2))
    stack = nn.Sequential([MaskedConv(4, mask_type="A"), *[MaskedConv(4) for _ in range(4)]])
    gated = PixelCNN(levels=4, colors=1, features=4, num_layers=4, first_kernel=3)
    x = jax.random.uniform(jax.random.key(2), (1, 17, 17, 1))
    for ax, name, model, color, style in (
        (left, "one stack", stack, VERMILION, "s--"),
        (middle, "gated", gated, BLUE, "o-"),
    ):
        read = influence_by_pixel(model, x, nonzero_variables(model, x), (8, 8)) > 0
        ax.imshow(read, cmap="Blues", vmin=0, vmax=1.4)
        ax.plot(8, 8, "o", color=VERMILION, fillstyle="none", markersize=8)
        ax.set_title(f"{name}: {read.sum()} pixels", fontsize=10)
        ax.set(xticks=[], yticks=[])
        right.plot(np.arange(9), read.sum(1)[8::-1], style, color=color, markersize=4, label=name)
    right.set(xlabel="rows above", ylabel="pixels that are read")
    right.legend(frameon=False, fontsize=8)
    return figure
