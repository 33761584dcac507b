"""Trivial baselines of masks and keypoints: the mean shape of each class, placed in the detected box."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dlcore.data.masks import unpack_masks
from dlcore.learner import Evaluator

__all__ = ["mean_keypoints", "mean_masks", "replaced"]


def mean_masks(rows: Mapping[str, np.ndarray], num_classes: int, side: int = 28) -> np.ndarray:
    """Average the true masks of each class in the frames of their boxes.

    Args:
      rows: `image`, `masks` (packed), `boxes`, `labels` and `box_mask` of examples.
      num_classes: C.
      side: of a mean mask.

    Returns:
      [C, side, side] float32 in [0, 1]; zeros for a class without an object.
    """
    total, count = np.zeros((num_classes, side, side), np.float32), np.zeros(num_classes)
    height, width = rows["image"].shape[1:3]
    at = (np.arange(side) + 0.5) / side
    for i, j in np.argwhere(np.asarray(rows["box_mask"]) > 0):
        x0, y0, x1, y1 = rows["boxes"][i, j]
        sides = ((y0, y1, height), (x0, x1, width))
        y, x = (np.clip(low + at * (high - low), 0, length - 1).astype(int) for low, high, length in sides)
        label = rows["labels"][i, j]
        total[label] += unpack_masks(rows["masks"][i, j], width)[y[:, None], x]
        count[label] += 1
    return total / np.maximum(count, 1)[:, None, None].astype(np.float32)


def mean_keypoints(rows: Mapping[str, np.ndarray], num_classes: int) -> np.ndarray:
    """Average the labeled keypoints of each class in the frames of their boxes.

    Args:
      rows: `keypoints`, `boxes`, `labels` and `box_mask` of examples.
      num_classes: C.

    Returns:
      [C, K, 2] float32, (x, y) as shares of the box; its middle for a keypoint that is never labeled.
    """
    real = np.asarray(rows["box_mask"]) > 0
    boxes, labels, points = rows["boxes"][real], rows["labels"][real], rows["keypoints"][real]
    shares = (points[..., :2] - boxes[:, None, :2]) / np.maximum(boxes[:, None, 2:] - boxes[:, None, :2], 1e-6)
    found = np.full((num_classes, points.shape[1], 2), 0.5, np.float32)
    for c in range(num_classes):
        weight = (points[labels == c, :, 2:] > 0).astype(np.float32)
        seen = weight.sum(0)
        mean = (weight * shares[labels == c]).sum(0) / np.maximum(seen, 1)
        found[c] = np.where(seen > 0, mean, found[c])
    return found


def replaced(
    evaluator: Evaluator,
    names: Mapping[str, str],
    masks: np.ndarray | None = None,
    keypoints: np.ndarray | None = None,
) -> Evaluator:
    """Measure detections whose masks or keypoints are the mean ones of their classes.

    Args:
      evaluator: of masks or keypoints.
      names: its number -> what it is called here; other numbers are left out.
      masks: of `mean_masks`.
      keypoints: of `mean_keypoints`.

    Returns:
      The evaluator.
    """

    def changed(outputs: Mapping[str, Any]) -> dict[str, Any]:
        label = np.maximum(np.asarray(outputs["labels"]), 0)
        new = dict(outputs)
        if masks is not None:
            new["masks"] = masks[label]
        if keypoints is not None:
            boxes = np.asarray(outputs["boxes"])[..., None, :]
            new["keypoints"] = boxes[..., :2] + keypoints[label] * (boxes[..., 2:] - boxes[..., :2])
        return new

    def add(acc, outputs, rows):
        return evaluator.add(acc, changed(outputs), rows)

    def finish(acc):
        found = evaluator.finish(acc)
        return {new: found[old] for old, new in names.items()}

    return Evaluator(add, finish, evaluator.source, tuple(names.values()))
