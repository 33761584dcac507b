"""Figure of dlcore.vision3d.voxnet; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.data.solids import Solid, surface_points
from dlcore.report.figure import PALETTE, new_figure
from dlcore.vision3d.voxnet import voxelize

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["voxnet"]


def voxnet() -> "Figure":
    """A cloud of points on a torus as the voxels that VoxNet reads.

    Left and middle: the number of voxels along the line of sight that hold a point, at two resolutions of 2,000
    points. Fine voxels show the shape, but the cloud leaves holes in them. Right: the share of the surface's voxels
    that hold a point. The finer the grid, the more points it takes to fill it.
    """
    figure, (coarse, fine, right) = new_figure((7.4, 2.5), 1, 3, width_ratios=(1, 1, 1.5))
    torus = Solid("torus", np.array([0.65, 0.25, 1.0]))
    points = surface_points(torus, 200_000, np.random.default_rng(0))[0]
    for ax, resolution in ((coarse, 12), (fine, 40)):
        grid = voxelize(points[None, :2000], resolution)[0]
        ax.imshow(grid.sum(2).T, cmap="Blues")
        ax.set(xticks=[], yticks=[], xlabel=f"{resolution} voxels a side: {100 * grid.mean():.1f} %\noccupied")
    counts = np.geomspace(100, 20_000, 12).astype(int)
    for resolution, style, color in ((12, "-", PALETTE[0]), (24, "--", PALETTE[1]), (40, ":", PALETTE[2])):
        full = voxelize(points[None], resolution).sum()
        right.semilogx(
            counts,
            [voxelize(points[None, :n], resolution).sum() / full for n in counts],
            style,
            color=color,
            label=f"{resolution} a side",
        )
    right.set(xlabel="points", ylabel="share of voxels filled", ylim=(0, 1.05))
    right.legend(frameon=False, fontsize=8)
    return figure
