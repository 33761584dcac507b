"""Precision over recall and average precision of detections, in numpy on the host.

Go through the detections from the highest score down; one that overlaps a true box by more than the threshold takes
that box away and is right, any other is wrong.

    precision_k = right among the first k / k,   recall_k = right among the first k / number of true boxes
    AP = sum over k of (recall_k - recall_{k-1}) max_{j >= k} precision_j

This is the area under the whole curve, made monotone (PASCAL VOC since 2010, Everingham et al. 2010). COCO reads the
same curve at 101 recalls: `dlcore.evaluators.coco`.
"""

import numpy as np

__all__ = ["average_precision", "match_detections", "precision_recall_curve"]


def match_detections(boxes: np.ndarray, scores: np.ndarray, truth: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """Which detections of one class in one image are right: [N] bool, in the order given.

    boxes: [N, 4], scores: [N]; of equal scores the earlier goes first. truth: [M, 4]. Each detection takes the true box
    that is left which it overlaps most, if by more than the threshold.
    """
    boxes, truth = np.asarray(boxes, np.float64).reshape(-1, 4), np.asarray(truth, np.float64).reshape(-1, 4)
    right, left = np.zeros(len(boxes), bool), np.ones(len(truth), bool)
    for i in np.argsort(-np.asarray(scores), kind="stable"):
        overlap = np.where(left, _iou(boxes[i], truth), -1.0)
        if len(truth) and overlap.max() > threshold:
            right[i], left[overlap.argmax()] = True, False
    return right


def precision_recall_curve(right: np.ndarray, scores: np.ndarray, num_truth: int) -> tuple[np.ndarray, np.ndarray]:
    """(precision [N], recall [N]) after each detection, from the highest score down.

    right: [N] bool, over all images. num_truth: true boxes there are. Raises ValueError where that is not positive.
    """
    if num_truth < 1:
        raise ValueError(f"num_truth is {num_truth}; without a true box there is no recall")
    found = np.cumsum(np.asarray(right, bool)[np.argsort(-np.asarray(scores), kind="stable")])
    return found / np.arange(1, len(found) + 1), found / num_truth


def average_precision(right: np.ndarray, scores: np.ndarray, num_truth: int) -> float:
    """AP of one class; the arguments are those of `precision_recall_curve`. No detections give 0."""
    precision, recall = precision_recall_curve(right, scores, num_truth)
    best_later = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * best_later))


def _iou(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    sides = np.maximum(np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2]), 0)
    inner = sides.prod(-1)
    union = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(-1) - inner
    return np.divide(inner, union, out=np.zeros_like(inner), where=union > 0)
