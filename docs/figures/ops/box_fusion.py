"""Figure of dlcore.ops.box_fusion; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.ops.box_fusion import weighted_boxes_fusion
from dlcore.ops.boxes import box_iou
from dlcore.ops.nms import nms
from dlcore.report.figure import BLUE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["box_fusion"]


def box_fusion() -> "Figure":
    """The box that remains of those of several models, whose corners err independently around one true box.

    Left: each of 500 trials has 1 to 12 boxes; their scores are random. Non-maximum suppression keeps the box of the
    highest score, and is no better with more models; fusion averages, so that the IoU with the truth rises. Right: with
    scores that tell the error, suppression gains, too.
    """
    figure, axes = new_figure((7, 2.8), 1, 2, sharey=True)
    rng, truth, counts = np.random.default_rng(0), jnp.array([[20.0, 20, 100, 100]]), (1, 2, 4, 8, 12)
    boxes = jnp.asarray(truth[0] + rng.normal(0, 4, (500, 12, 4)), jnp.float32)
    iou = jax.vmap(lambda x: box_iou(truth, x)[0])(boxes)
    noise = jnp.asarray(rng.uniform(0.3, 0.9, iou.shape), jnp.float32)
    for ax, scores, name in zip(axes, (noise, iou), ("random scores", "scores are the IoU"), strict=True):

        def best_iou(box, score, valid):
            fused = weighted_boxes_fusion(box, score, iou_threshold=0.3, valid=valid)
            kept = nms(box, score, 0.3, valid=valid)
            return box_iou(truth, fused.boxes)[0, 0], (kept * box_iou(truth, box)[0]).max()

        evaluate = jax.jit(jax.vmap(best_iou, (0, 0, None)))
        values = np.array([[v.mean() for v in evaluate(boxes, scores, jnp.arange(12) < n)] for n in counts])
        ax.plot(counts, values[:, 0], "o-", color=BLUE, label="fusion")
        ax.plot(counts, values[:, 1], "s--", color=VERMILION, label="suppression")
        ax.set(xlabel="boxes (models)", title=name)
        ax.title.set_fontsize(9)
    axes[0].set_ylabel("mean IoU with the truth")
    axes[0].legend(frameon=False)
    return figure
