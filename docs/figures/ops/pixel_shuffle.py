"""Figure of dlcore.ops.pixel_shuffle; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import ListedColormap

from dlcore.ops.pixel_shuffle import pixel_shuffle as shuffle
from dlcore.report.figure import BLUE, GREEN, ORANGE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["pixel_shuffle"]


def pixel_shuffle() -> "Figure":
    """Four channels of 3 x 3 pixels become one channel of 6 x 6 by a pixel shuffle of factor 2.

    Color says from which channel a pixel comes, its number from which place. Each place of the small maps becomes a
    block of 2 x 2 pixels, one from each channel. Nothing is computed or lost: a convolution before it predicts the four
    pixels of a block.
    """
    figure, axes = new_figure((7.4, 2.5), 1, 5, width_ratios=(1, 1, 1, 1, 2))
    channel = np.broadcast_to(np.arange(4.0), (3, 3, 4))
    place = np.broadcast_to(np.arange(9.0).reshape(3, 3, 1), (3, 3, 4))
    colors = ListedColormap([BLUE, VERMILION, GREEN, ORANGE])
    panels = [(f"channel {n}", channel[..., n], place[..., n]) for n in range(4)]
    panels.append(("output", *(np.asarray(shuffle(x, 2))[..., 0] for x in (channel, place))))
    for ax, (name, source, number) in zip(axes, panels, strict=True):
        ax.imshow(source, cmap=colors, vmin=0, vmax=3, alpha=0.6)
        for (row, column), value in np.ndenumerate(number):
            ax.text(column, row, f"{value:g}", ha="center", va="center", fontsize=9)
        ax.set(xticks=[], yticks=[], xlabel=name)
    return figure
