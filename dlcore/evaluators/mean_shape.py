"""Trivial baselines of masks and keypoints: the mean shape of each class, placed in the detected box."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dlcore.data.masks import unpack_masks
from dlcore.learner import Evaluator
from dlcore.ops.checks import check_class_ids, check_keys, check_shapes

__all__ = ["evaluate_class_means", "mean_keypoints", "mean_masks"]


def mean_masks(rows: Mapping[str, np.ndarray], num_classes: int, side: int = 28) -> np.ndarray:
    """Average the true masks of each class in box coordinates.

    Args:
      rows: `image`, `masks` (packed), `boxes`, `labels` and `box_mask` of examples.
      num_classes: C.
      side: side of a mean mask, in cells.

    Returns:
      [C, side, side] float32 in [0, 1]; zeros for a class without an object.
    """
    check_keys("rows", rows, ("image", "masks", "boxes", "labels", "box_mask"))
    check_shapes(num_classes=(num_classes, "int >= 1"), side=(side, "int >= 1"))
    check_class_ids("labels", np.asarray(rows["labels"])[np.asarray(rows["box_mask"]) > 0], num_classes)
    total, count = np.zeros((num_classes, side, side), np.float32), np.zeros(num_classes)
    height, width = rows["image"].shape[1:3]
    grid = (np.arange(side) + 0.5) / side
    for i, j in np.argwhere(np.asarray(rows["box_mask"]) > 0):
        x0, y0, x1, y1 = rows["boxes"][i, j]
        sides = ((y0, y1, height), (x0, x1, width))
        y, x = (np.clip(low + grid * (high - low), 0, length - 1).astype(int) for low, high, length in sides)
        label = rows["labels"][i, j]
        total[label] += unpack_masks(rows["masks"][i, j], width)[y[:, None], x]
        count[label] += 1
    return total / np.maximum(count, 1)[:, None, None].astype(np.float32)


def mean_keypoints(rows: Mapping[str, np.ndarray], num_classes: int) -> np.ndarray:
    """Average the labeled keypoints of each class in box coordinates.

    Args:
      rows: `keypoints`, `boxes`, `labels` and `box_mask` of examples.
      num_classes: C.

    Returns:
      [C, K, 2] float32, (x, y) in units of the box; its center for a keypoint that is never labeled.
    """
    check_keys("rows", rows, ("keypoints", "boxes", "labels", "box_mask"))
    check_shapes(num_classes=(num_classes, "int >= 1"))
    valid = np.asarray(rows["box_mask"]) > 0
    boxes, labels, points = rows["boxes"][valid], rows["labels"][valid], rows["keypoints"][valid]
    check_class_ids("labels", labels, num_classes)
    relative = (points[..., :2] - boxes[:, None, :2]) / np.maximum(boxes[:, None, 2:] - boxes[:, None, :2], 1e-6)
    means = np.full((num_classes, points.shape[1], 2), 0.5, np.float32)
    for c in range(num_classes):
        weight = (points[labels == c, :, 2:] > 0).astype(np.float32)
        num_labeled = weight.sum(0)
        mean = (weight * relative[labels == c]).sum(0) / np.maximum(num_labeled, 1)
        means[c] = np.where(num_labeled > 0, mean, means[c])
    return means


def evaluate_class_means(
    evaluator: Evaluator, names: Mapping[str, str], masks: np.ndarray | None = None, keypoints: np.ndarray | None = None
) -> Evaluator:
    """Evaluate detections whose masks or keypoints are replaced by the means of their classes.

    Args:
      evaluator: evaluator of masks or keypoints.
      names: {name of its metric: new name}; other metrics are left out.
      masks: [C, side, side], result of `mean_masks`; None keeps the predicted masks.
      keypoints: [C, K, 2], result of `mean_keypoints`; None keeps the predicted keypoints.

    Returns:
      The evaluator.
    """

    def with_means(outputs: Mapping[str, Any]) -> dict[str, Any]:
        label = np.maximum(np.asarray(outputs["labels"]), 0)
        new = dict(outputs)
        if masks is not None:
            new["masks"] = masks[label]
        if keypoints is not None:
            boxes = np.asarray(outputs["boxes"])[..., None, :]
            new["keypoints"] = boxes[..., :2] + keypoints[label] * (boxes[..., 2:] - boxes[..., :2])
        return new

    def add(acc, outputs, rows):
        return evaluator.add(acc, with_means(outputs), rows)

    def finish(acc):
        numbers = evaluator.finish(acc)
        return {new: numbers[old] for old, new in names.items()}

    return Evaluator(add, finish, evaluator.source, tuple(names.values()))
