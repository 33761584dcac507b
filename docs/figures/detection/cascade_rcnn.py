"""Figure of dlcore.detection.cascade_rcnn; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.ops.boxes import box_iou
from dlcore.report.figure import BLUE, GREEN, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["cascade_rcnn"]


def cascade_rcnn() -> "Figure":
    """Why a cascade has a threshold for each head: overlap of proposals with an object of 40 pixels, by their error.

    Left: IoU of 4,000 boxes whose corners err by 8, 4 and 2 pixels, as after no, one and two heads. Right: the share
    of boxes that count as an object at each threshold. At 0.7 the first head would have few positive examples; the
    boxes of the heads before make them, so each head trains on boxes as good as those it will get.
    """
    figure, (left, right) = new_figure((7, 2.7), 1, 2)
    truth, thresholds = jnp.array([[30.0, 30.0, 70.0, 70.0]]), np.linspace(0.3, 1, 71)
    rng = np.random.default_rng(0)
    for stage, (error, color, style) in enumerate(((8, VERMILION, "-."), (4, GREEN, "--"), (2, BLUE, "-"))):
        corners = np.asarray(truth).reshape(1, 2, 2) + rng.normal(0, error, (4000, 2, 2))
        boxes = jnp.asarray(np.sort(corners, 1).reshape(-1, 4), jnp.float32)
        overlap = np.asarray(box_iou(boxes, truth))[:, 0]
        left.hist(overlap, np.linspace(0.2, 1, 41), histtype="step", color=color, label=f"input of head {stage + 1}")
        right.plot(thresholds, [100 * (overlap >= t).mean() for t in thresholds], style, color=color)
    for threshold in (0.5, 0.6, 0.7):
        right.axvline(threshold, color="black", linestyle=":", linewidth=0.8)
    left.set(xlabel="IoU with the object", ylabel="boxes")
    right.set(xlabel="threshold", ylabel="positive (%)")
    left.legend(frameon=False, fontsize=8)
    return figure
