"""Figure of dlcore.segmentation.unet_3d; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.report.figure import BLUE, GRAY, new_figure
from dlcore.segmentation.unet_3d import pooling_strides

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["unet_3d"]


def unet_3d() -> "Figure":
    """Cells of the map at each level, for voxels of 5 mm in depth and 1 mm in width.

    Left: halving all axes alike (gray) keeps cells five times as deep as wide. Strides by the spacing (blue) leave the
    depth at first, until a cell is nearly a cube. Right: of 16 slices, four halvings of all axes leave one, and those
    by the spacing four.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    spacing, levels = np.array([5.0, 1.0, 1.0]), np.arange(5)
    alike = np.cumprod(np.vstack([np.ones(3), *pooling_strides((1, 1, 1), 4)]).reshape(5, 3), 0)
    fitted = np.cumprod(np.vstack([np.ones(3), *pooling_strides(tuple(spacing), 4)]).reshape(5, 3), 0)
    for factors, color, marker, name in ((alike, GRAY, "s", "all alike"), (fitted, BLUE, "o", "by the spacing")):
        sides = spacing * factors
        left.plot(levels, sides[:, 0], f"{marker}-", color=color, label=f"depth, {name}", markersize=5)
        right.plot(levels, 16 / factors[:, 0], f"{marker}-", color=color, label=name, markersize=5)
    left.plot(levels, sides[:, 1], "--", color="black", label="width, both")
    left.set_yscale("log", base=2)
    left.set(
        xlabel="level",
        ylabel="side of a cell / mm",
        yticks=(1, 4, 16, 64, 256),
        yticklabels=(1, 4, 16, 64, 256),
        ylim=(0.8, 600),
        xticks=levels,
    )
    right.set(xlabel="level", ylabel="slices of 16 that are left", ylim=(0, 17), xticks=levels)
    for ax in (left, right):
        ax.legend(frameon=False, fontsize=8)
    return figure
