"""PCK of a detector's keypoints: the fraction within a tolerance relative to the object's size."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dlcore.learner import Evaluator
from dlcore.metrics.keypoints import KeypointAccuracy
from dlcore.ops.checks import check_shapes

__all__ = ["pck_evaluator"]


def pck_evaluator(
    keypoint_names: Sequence[str], source: Any = None, alpha: float = 0.1, min_iou: float = 0.5
) -> Evaluator:
    """Build the evaluator of PCK; `predict` returns boxes as for COCO's mAP, and `keypoints: [B, K, J, 2 or 3]`.

    In the order of falling scores, a detection matches the unmatched true box of its class with the largest IoU, at
    least `min_iou`. Keypoints of unmatched true boxes count as wrong. Metrics: pck, and pck/NAME of each keypoint.

    Args:
      keypoint_names: J names.
      source: source to measure; None measures the split.
      alpha: tolerance as a fraction of the longer side of the true box.
      min_iou: least IoU of a detection and its true box.

    Returns:
      The evaluator.
    """
    check_shapes(alpha=(alpha, "> 0"), min_iou=(min_iou, "0 to 1"))

    def add(acc, outputs, rows):
        outputs = {name: np.asarray(value) for name, value in outputs.items()}
        real = np.asarray(rows["box_mask"]) > 0
        owner = np.full(real.shape, -1)
        for i, is_candidate in enumerate(real):
            order = np.argsort(-outputs["scores"][i], kind="stable")
            for k in order[outputs["valid"][i][order] > 0]:
                free = is_candidate & (owner[i] < 0) & (np.asarray(rows["labels"][i]) == outputs["labels"][i, k])
                overlap = np.where(free, _iou(outputs["boxes"][i, k], np.asarray(rows["boxes"][i])), 0)
                if overlap.max(initial=0) >= min_iou:
                    owner[i, overlap.argmax()] = k
        points = np.take_along_axis(outputs["keypoints"][..., :2], np.maximum(owner, 0)[..., None, None], 1)
        target_points = np.where(real[..., None, None], rows["keypoints"], 0)
        accuracy = KeypointAccuracy.of(points, target_points, np.asarray(rows["boxes"]), owner >= 0, alpha)
        return accuracy if acc is None else acc.merge(accuracy)

    def finish(acc):
        numbers = acc.compute() or {"pck": None, "pck_by_keypoint": np.full(len(keypoint_names), np.nan)}
        named_pck = zip(keypoint_names, numbers["pck_by_keypoint"], strict=True)
        return {"pck": numbers["pck"]} | {f"pck/{name}": None if np.isnan(v) else float(v) for name, v in named_pck}

    return Evaluator(add, finish, source, ("pck", *(f"pck/{name}" for name in keypoint_names)))


def _iou(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Compute the IoU [M] of a box [4] and boxes [M, 4]."""
    sides = np.clip(np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2]), 0, None)
    intersection = sides.prod(-1)
    return intersection / np.maximum(
        (box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(-1) - intersection, 1e-12
    )
