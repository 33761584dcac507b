"""Figure of dlcore.ops.winograd; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.ops.winograd import conv_winograd, winograd_multiplications
from dlcore.report.figure import PALETTE, VERMILION, new_figure
from experiments.figure_parts import direct_convolution

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["winograd"]


def winograd() -> "Figure":
    """Left: multiplications for an output pixel of a 3 x 3 convolution.

    Winograd's algorithm takes 4 at even sizes instead of 9, and more where tiles are cut. Right: its errors in float32
    of 32 channels, against float64, are no wider than those of the direct sum.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    sides = range(1, 25)
    counts = [winograd_multiplications(side, side) for side in sides]
    for name, color in (("direct", VERMILION), ("winograd", PALETTE[0])):
        each = [count[name] / side**2 for count, side in zip(counts, sides, strict=True)]
        left.plot(sides, each, marker="o", markersize=3, color=color, label=name)
    left.set(xlabel="output's side (pixels)", ylabel="multiplications / pixel", ylim=(0, 17))
    rng = np.random.default_rng(0)
    x, kernel = (rng.normal(size=s).astype(np.float32) for s in ((1, 34, 34, 32), (3, 3, 32, 32)))
    windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), (3, 3), (1, 2))
    exact = np.einsum("nhwcij,ijco->nhwo", windows, kernel.astype(np.float64), optimize=True)
    edges = np.linspace(-1, 1, 81)
    for conv, label, color in ((direct_convolution, "direct", VERMILION), (conv_winograd, "winograd", PALETTE[0])):
        error = (np.asarray(conv(x, kernel), np.float64) - exact) / exact.std()
        right.hist(error.ravel() * 1e6, edges, histtype="step", color=color, label=label)
    right.set(xlabel="error / deviation of the output ($10^{-6}$)", ylabel="output values")
    left.legend(frameon=False)
    right.legend(frameon=False)
    return figure
