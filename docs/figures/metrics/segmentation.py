"""Figure of dlcore.metrics.segmentation; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.metrics.segmentation import BoundaryIoU, MeanIoU
from dlcore.report.figure import BLUE, GRAY, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["segmentation"]


def segmentation() -> "Figure":
    """What pixel accuracy hides, and what the IoU of large regions hides.

    Left: a map that says "road" everywhere. The accuracy follows the share of road, and the mean IoU of two classes
    stays below one half. Right: a disk whose mask is 2 pixels too large everywhere. The IoU of a large disk is nearly
    1, the boundary IoU stays low.
    """
    figure, (left, right) = new_figure((7, 2.7), 1, 2)
    shares = np.arange(2, 100, 4)
    results = [_everywhere_road(int(share)) for share in shares]
    for name, key, color, style in (("accuracy", "pixel_accuracy", GRAY, "--"), ("mean IoU", "mean_iou", BLUE, "-")):
        left.plot(shares, [one[key] for one in results], style, color=color, label=name)
    left.set(xlabel="share of road (%)", ylabel="value", ylim=(0, 1.02))
    left.legend(frameon=False, fontsize=8)
    distance = np.hypot(*(np.mgrid[:192, :192] - 95.5))
    radii = np.array([6, 10, 16, 24, 36, 50, 70, 90])
    values = np.array([_too_large(distance, int(radius)) for radius in radii])
    for column, name, color, style in ((0, "IoU", GRAY, "--"), (1, "boundary IoU, 3 pixels", BLUE, "-")):
        right.plot(radii, values[:, column], style, color=color, marker="o", markersize=3, label=name)
    right.set(xlabel="radius of the disk / pixels", ylabel="value", ylim=(0, 1.02))
    right.legend(frameon=False, fontsize=8, loc="center right")
    return figure


def _everywhere_road(share: int) -> dict:
    """Measures of a map of class 0 where a percentage of 100 pixels is of class 0 and the rest of class 1."""
    labels = (jnp.arange(100) >= share).astype(jnp.int32)[None]
    return MeanIoU.of(jnp.zeros_like(labels), labels, num_classes=2).compute()


def _too_large(distance: np.ndarray, radius: int) -> tuple[float, float]:
    """IoU and boundary IoU of a disk and one of 2 pixels more, from the distance of each pixel to the center."""
    labels, predictions = (jnp.asarray(distance < r, jnp.int32)[None] for r in (radius, radius + 2))
    iou = MeanIoU.of(predictions, labels, num_classes=2).compute()["iou"][1]
    return iou, BoundaryIoU.of(predictions, labels, 2).compute()["boundary_iou_by_class"][1]
