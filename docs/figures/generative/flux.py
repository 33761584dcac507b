"""Figure of dlcore.generative.flux; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp

from dlcore.generative.flux import Flux, image_positions
from dlcore.report.figure import SKY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["flux"]


def flux() -> "Figure":
    """How the rotary positions of Flux let the marked patch of 24 x 24 compare itself with every other.

    A head of 128 channels gives 16 of them to an axis that images leave at 0, and 56 each to rows and columns. Left and
    middle: inner products by the channels of one axis alone, which know the distance along it. Right: all channels
    together find the neighborhood; words stand at (0, 0, 0), in the corner.
    """
    figure, axes = new_figure((7.2, 2.6), 1, 3)
    model, side, row, column = Flux(128, num_heads=1, axes=(16, 56, 56)), 24, 9, 14
    angles = model.angles(image_positions(side, side))[:, 0]
    turned = jnp.cos(angles - angles[row * side + column])
    names = (("rows", slice(8, 36)), ("columns", slice(36, 64)), ("all channels", slice(0, 64)))
    for ax, (name, part) in zip(axes, names, strict=True):
        image = ax.imshow(turned[:, part].mean(1).reshape(side, side), vmin=0.3, vmax=1, cmap="viridis")
        ax.plot(column, row, "o", markerfacecolor="none", markeredgecolor=VERMILION, markeredgewidth=1.5)
        ax.set(xticks=[], yticks=[])
        ax.set_title(name, fontsize=10)
    axes[2].plot(0, 0, "s", color=SKY, markersize=5)
    figure.colorbar(image, ax=axes, shrink=0.8, label="inner product")
    return figure
