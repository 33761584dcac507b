"""Figure of dlcore.generative.mmdit; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.patches import Rectangle

from dlcore.generative.mmdit import MMDiT
from dlcore.report.figure import BLUE, SKY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["mmdit"]


def mmdit() -> "Figure":
    """One grid of positions serves images of every size and shape: each takes the middle of it.

    Left: likeness (inner product) of the position in the center with all 48 x 48; the frames are what images of 32 x 32
    and of 16 x 40 patches take. Right: the likeness along the middle row at two base grids. A smaller base grid spreads
    the same waves over the large grid, so that neighbors are more alike.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    size, center = 48, 24

    def likeness(base):
        positions = MMDiT(64, max_grid=size, base_grid=base).positions()
        return np.asarray(positions @ positions[center, center] / (positions[center, center] ** 2).sum())

    image = left.imshow(likeness(48), cmap="viridis", vmin=0.5, vmax=1)
    for (rows, columns), color, style in (((32, 32), SKY, "-"), ((16, 40), VERMILION, "--")):
        corner = ((size - columns) / 2 - 0.5, (size - rows) / 2 - 0.5)
        frame = Rectangle(corner, columns, rows, fill=False, color=color, linewidth=2, linestyle=style)
        left.add_patch(frame)
    left.set(xlabel="column", ylabel="row")
    figure.colorbar(image, ax=left, label="likeness")
    for base, color, style in ((48, BLUE, "-"), (16, VERMILION, "--")):
        right.plot(np.arange(size) - center, likeness(base)[center], style, color=color, label=f"base_grid = {base}")
    right.set(xlabel="columns from the center", ylabel="likeness", ylim=(0.65, 1.01))
    right.legend(frameon=False, loc="lower center")
    return figure
