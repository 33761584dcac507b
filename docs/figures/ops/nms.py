"""Figure of dlcore.ops.nms; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.patches import Rectangle

from dlcore.data.scenes import scenes
from dlcore.ops.boxes import box_iou
from dlcore.ops.nms import nms as suppress
from dlcore.report.figure import GRAY, PALETTE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["nms"]


def nms() -> "Figure":
    """Left: 60 boxes that a detector might give for the shapes; their scores are their overlaps with the truth.

    Middle: those that non-maximum suppression keeps at a threshold of 0.3, one for each shape. Right: a high
    threshold keeps several boxes of one shape.
    """
    figure, (before, after, right) = new_figure((7, 2.6), 1, 3, width_ratios=(1, 1, 1.2))
    rng, scene = np.random.default_rng(0), scenes(8).arrays
    number = int(np.argmax(scene["box_mask"].sum(1)))
    truth = scene["boxes"][number][scene["box_mask"][number]]
    boxes = jnp.asarray(truth[np.arange(60) % len(truth)] + rng.normal(0, 3, (60, 4)), jnp.float32)
    scores = box_iou(boxes, jnp.asarray(truth)).max(1)
    kept = np.asarray(suppress(boxes, scores, 0.3))
    for ax, chosen, label in ((before, kept | True, "before"), (after, kept, "after")):
        ax.imshow(scene["image"][number])
        for x0, y0, x1, y1 in np.asarray(boxes)[chosen]:
            ax.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, color=VERMILION, linewidth=1))
        ax.set(xticks=[], yticks=[], xlabel=f"{label}: {chosen.sum()} boxes")
    thresholds = np.linspace(0, 1, 51)
    counts = jax.vmap(lambda t: suppress(boxes, scores, t).sum())(jnp.asarray(thresholds))
    right.plot(thresholds, counts, color=PALETTE[0])
    right.axhline(len(truth), color=GRAY, linestyle="--")
    right.text(0.02, len(truth) + 1.5, f"{len(truth)} shapes", fontsize=9)
    right.set(xlabel="threshold (IoU)", ylabel="boxes kept")
    return figure
