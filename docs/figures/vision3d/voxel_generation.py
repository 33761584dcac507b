"""Figure of dlcore.vision3d.voxel_generation; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.data.voxel_solids import voxel_solids
from dlcore.report.figure import BLUE, VERMILION, new_figure
from dlcore.vision3d.voxel_generation import mean_shape_iou, nearest_image_iou

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["voxel_generation"]


def voxel_generation() -> "Figure":
    """What a network that makes voxels from an image must beat: the mean shape, or the nearest image.

    Left: two test solids, the nearest training image of 500, and both silhouettes' overlap (dark where both are).
    Right: IoU by the number of training solids. Retrieval gets better with more of them; the mean shape hardly does.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2, width_ratios=(1, 1.3))
    train, test = voxel_solids(500, 0).arrays, voxel_solids(60, 1).arrays
    rows = []
    for index in (0, 3):
        distance = ((train["image"] - test["image"][index]) ** 2).sum((1, 2, 3))
        best = int(distance.argmin())
        both = 1 - (test["voxels"][index].any(-1).astype(float) + train["voxels"][best].any(-1)) / 2
        rows.append(
            np.concatenate(
                [test["image"][index, ..., 0], train["image"][best, ..., 0], np.kron(both, np.ones((2, 2)))], 1
            )
        )
    left.imshow(np.concatenate(rows), cmap="gray", vmin=0, vmax=1)
    left.set(xticks=[15.5, 47.5, 79.5], xticklabels=["test", "nearest", "overlap"], yticks=[])
    counts = (5, 15, 50, 150, 500)
    for name, values, style, color in (
        ("nearest image", [nearest_image_iou({k: v[:n] for k, v in train.items()}, test) for n in counts], "o-", BLUE),
        ("mean shape", [mean_shape_iou(train["voxels"][:n], test["voxels"]) for n in counts], "s--", VERMILION),
    ):
        right.semilogx(counts, values, style, color=color, markersize=4, label=name)
    right.set(xlabel="training solids", ylabel="mean IoU", ylim=(0, 0.8))
    right.legend(frameon=False, loc="lower right")
    return figure
