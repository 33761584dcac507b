"""Figure of dlcore.detection.rpn; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.scenes import scenes
from dlcore.detection.anchors import Anchors
from dlcore.detection.rpn import Outputs, propose
from dlcore.ops.boxes import box_iou, encode_boxes
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure
from experiments.figure_parts import draw_boxes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["rpn"]


def rpn() -> "Figure":
    """Proposals of a network that predicts 0.7 of each true shift and scores anchors by their overlap, with noise.

    Left: the eight best anchors (red, dashed) and proposals (blue). Right: shapes of 200 scenes that a proposal
    overlaps by 0.7. Shifted anchors find more than anchors alone; without suppression copies of some shapes take the
    places of others.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2, width_ratios=(1, 1.6))
    scene, anchors = scenes(200, empty=0).arrays, Anchors.of([(24, 24), (12, 12), (6, 6)], (96, 96), (4.0,))
    keys = jax.random.split(jax.random.key(0), 200)
    number = int(np.argmax(scene["box_mask"].sum(1)))
    kinds = (("shifted, suppressed", 0.7, 0.7, BLUE, "-"), ("shifted, not suppressed", 0.7, 1.0, GRAY, ":"))
    for name, learned, threshold, color, style in (*kinds, ("anchors, suppressed", 0.0, 0.7, VERMILION, "--")):
        boxes, best = _proposals(keys, scene["boxes"], scene["box_mask"], anchors, learned, threshold)
        right.semilogx(np.arange(1, 101), 100 * best[scene["box_mask"]].mean(0), style, color=color, label=name)
        if threshold < 1:
            draw_boxes(left, boxes[number, :8], color, style)
    left.imshow(scene["image"][number])
    left.set(xticks=[], yticks=[])
    right.set(xlabel="proposals of an image", ylabel="recall (%)")
    right.legend(frameon=False, fontsize=8)
    return figure


def _proposals(
    keys: jax.Array, truth: np.ndarray, valid: np.ndarray, anchors: Anchors, learned: float, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes of the proposals [N, 100, 4], and whether the first n cover a true box [N, M, 100]."""
    at = jnp.asarray(anchors.boxes)

    def of_image(key, boxes, mask):
        iou = jnp.where(mask[:, None], box_iou(boxes, at), 0)
        objectness = 12 * iou.max(0) - 6 + jax.random.normal(key, (len(at),))
        deltas = learned * encode_boxes(boxes[iou.argmax(0)], at)
        found, filled = propose(Outputs(objectness, deltas), anchors, (96, 96), num_proposals=100, nms_thresh=threshold)
        return found, jnp.cumsum((box_iou(boxes, found) >= 0.7) & filled, 1) > 0

    return tuple(np.asarray(part) for part in jax.jit(jax.vmap(of_image))(keys, jnp.asarray(truth), jnp.asarray(valid)))
