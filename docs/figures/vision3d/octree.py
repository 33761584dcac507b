"""Figure of dlcore.vision3d.octree; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.patches import Rectangle

from dlcore.data.solids import Solid
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure
from dlcore.vision3d.octree import octree_from_distance, octree_leaves

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["octree"]


def octree() -> "Figure":
    """Left: the cells of a sphere's oct-tree that a plane through the center cuts, full ones shaded.

    Cells are small at the surface alone; inside and outside they stay large. Right: numbers that each representation
    of a sphere stores. Voxels grow eightfold with each doubling of the resolution, and the nodes of the tree about
    fourfold, like a surface.
    """
    figure, (left, right) = new_figure((7, 3), 1, 2, width_ratios=(1, 1.3))
    sphere = Solid("sphere", np.array([0.7, 1.0, 1.0]))
    centers, sides, full = octree_leaves(octree_from_distance(sphere.signed_distance, 5))
    for center, side, inside in zip(centers, sides, full, strict=True):
        if abs(center[2] - 0.001) <= side / 2:
            left.add_patch(
                Rectangle(center[:2] - side / 2, side, side, facecolor=BLUE if inside else "none", alpha=0.4)
            )
            left.add_patch(Rectangle(center[:2] - side / 2, side, side, fill=False, edgecolor=GRAY, linewidth=0.5))
    left.set(xticks=[], yticks=[], xlim=(-1.01, 1.01), ylim=(-1.01, 1.01), aspect="equal")
    depths = np.arange(2, 8)
    right.semilogy(2**depths, 8.0**depths, "s--", color=VERMILION, markersize=4, label="voxels")
    right.semilogy(
        2**depths,
        [len(octree_from_distance(sphere.signed_distance, d)) for d in depths],
        "o-",
        color=BLUE,
        markersize=4,
        label="oct-tree's nodes",
    )
    right.set(
        xlabel="voxels along a side", ylabel="stored numbers", xscale="log", xticks=2**depths, xticklabels=2**depths
    )
    right.minorticks_off()
    right.legend(frameon=False)
    return figure
