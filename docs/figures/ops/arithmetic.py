"""Figure of dlcore.ops.arithmetic; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.ops.arithmetic import conv_macs, receptive_field
from dlcore.report.figure import PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["arithmetic"]


def arithmetic() -> "Figure":
    """Left: the receptive field of stacks of convolutions against their depth.

    Right: multiply-adds of layers with as many input as output channels and maps of 56 x 56. Three layers of 3 x 3 see
    as much as one of 7 x 7 and cost about half; a depthwise layer with one of 1 x 1 costs least.
    """
    figure, (left, right) = new_figure((7, 3), 1, 2)
    depth, channels = np.arange(9), 2 ** np.arange(5, 10)
    stacks = {
        "3 x 3, stride 2": [receptive_field([3] * n, [2] * n) for n in depth],
        "3 x 3, dilation 1, 2, 4, ...": [receptive_field([2 * 2**i + 1 for i in range(n)]) for n in depth],
        "7 x 7": [receptive_field([7] * n) for n in depth],
        "3 x 3": [receptive_field([3] * n) for n in depth],
    }
    for (label, fields), color, style in zip(stacks.items(), PALETTE, ["-", "--", "-", "-"], strict=False):
        left.plot(depth, fields, style, marker="o", markersize=3, color=color, label=label)
    left.set(xlabel="layers", ylabel="receptive field (pixels)", yscale="log")
    layers = {
        "7 x 7": [conv_macs(56, c, c, 7) for c in channels.tolist()],
        "three of 3 x 3": [3 * conv_macs(56, c, c, 3) for c in channels.tolist()],
        "3 x 3": [conv_macs(56, c, c, 3) for c in channels.tolist()],
        "depthwise 3 x 3, then 1 x 1": [conv_macs(56, c, c, 3, c) + conv_macs(56, c, c, 1) for c in channels.tolist()],
    }
    for (label, macs), color in zip(layers.items(), PALETTE, strict=False):
        right.plot(channels, np.array(macs) / 1e6, marker="o", markersize=3, color=color, label=label)
    right.set(xlabel="channels", ylabel="multiply-adds (millions)", xscale="log", yscale="log", ylim=(2, 1e7))
    right.set_xticks(channels, channels)
    right.minorticks_off()
    for ax in (left, right):
        ax.legend(frameon=False, fontsize=8)
    return figure
