"""Figure of dlcore.generative.fvbn; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.generative.fvbn import made_masks
from dlcore.report.figure import PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["fvbn"]


def fvbn() -> "Figure":
    """MADE's masks for 12 pixels and two hidden layers of 24 units, and the paths that they leave.

    A filled cell is a connection from its row to its column. Units are ordered by the number of pixels that they may
    know. Right: paths from an input (row) to an output (column), the product of the three masks: none reaches its own
    pixel or an earlier one, so that one pass gives all conditionals.
    """
    figure, axes = new_figure((7.2, 2.4), 1, 4, width_ratios=(2, 2, 1, 1.3))
    first, second, last, _ = made_masks(12, (24, 24))
    masks = ((first, "input to hidden 1"), (second, "hidden 1 to 2"), (last, "to output"))
    for ax, (mask, name) in zip(axes, masks, strict=False):
        ax.imshow(mask, cmap="Blues", vmax=1.4)
        ax.set_title(name, fontsize=10)
        ax.set(xticks=[], yticks=[])
    paths = first @ second @ last
    image = axes[3].imshow(np.where(paths > 0, paths, np.nan), cmap="viridis", vmin=0)
    axes[3].plot([-0.5, 11.5], [-0.5, 11.5], color=PALETTE[1], linewidth=1)
    axes[3].set_title("paths", fontsize=10)
    axes[3].set(xlabel="output", ylabel="input", xticks=[], yticks=[])
    figure.colorbar(image, ax=axes[3], shrink=0.7)
    return figure
