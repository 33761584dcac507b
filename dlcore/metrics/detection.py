"""Precision-recall curve and average precision of detections, in numpy on the host; and the error of their number.

Go through the detections from the highest score down; one that overlaps a free true box by more than the threshold
matches that box and is correct, any other is wrong.

    precision_k = correct among the first k / k,   recall_k = correct among the first k / number of true boxes
    AP = sum over k of (recall_k - recall_{k-1}) max_{j >= k} precision_j

This is the area under the whole curve, made monotone (PASCAL VOC since 2010, Everingham et al. 2010). COCO reads the
same curve at 101 recalls: `dlcore.evaluators.coco`. `cardinality_error`, which DETR logs while it trains, is a function
of traced arrays.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.ops.checks import check_boxes, check_finite, check_shapes, check_values

__all__ = ["average_precision", "cardinality_error", "match_detections", "precision_recall_curve"]


def match_detections(boxes: np.ndarray, scores: np.ndarray, truth: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """Match the detections of one class in one image with its true boxes.

    Each detection takes the free true box that it overlaps most, if by more than the threshold.

    Args:
      boxes: [N, 4], detected corners x1, y1, x2, y2.
      scores: [N]; of equal scores the earlier goes first.
      truth: [M, 4], true boxes.
      threshold: IoU that a match must exceed.

    Returns:
      [N] bool, which detections are correct, in the order given.
    """
    boxes, targets = (np.zeros((0, 4)) if np.size(b) == 0 else np.asarray(b, np.float64) for b in (boxes, truth))
    check_shapes(truth=(targets, "M 4"), boxes=(boxes, "N 4"), scores=(scores, "N"), threshold=(threshold, "0 to 1"))
    check_boxes("boxes", boxes)
    check_boxes("truth", targets)
    check_finite("scores", scores)
    correct, free = np.zeros(len(boxes), bool), np.ones(len(targets), bool)
    for i in np.argsort(-np.asarray(scores, np.float64), kind="stable"):
        # Greedy: by descending score, each detection takes the free target of the largest IoU.
        overlap = np.where(free, _iou(boxes[i], targets), -1.0)
        if len(targets) and overlap.max() > threshold:
            correct[i], free[overlap.argmax()] = True, False
    return correct


def precision_recall_curve(correct: np.ndarray, scores: np.ndarray, num_truth: int) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall after each detection, from the highest score down.

    Args:
      correct: [N] bool, over all images.
      scores: [N]; of equal scores the earlier goes first.
      num_truth: number of true boxes in all images, at least 1.

    Returns:
      (precision [N], recall [N]).
    """
    check_shapes(num_truth=(num_truth, "int >= 1"))  # without a true box there is no recall
    if np.ndim(correct) != 1 or np.shape(scores) != np.shape(correct):
        raise ValueError(f"scores={np.shape(scores)}: for correct={np.shape(correct)}; allowed: [N] for both")
    check_finite("scores", scores)
    check_values("correct", correct, (0, 1))
    if (count := int(np.sum(correct))) > num_truth:
        raise ValueError(f"num_truth={num_truth}: below the {count} correct detections; allowed: at least {count}")
    hits = np.cumsum(np.asarray(correct, bool)[np.argsort(-np.asarray(scores, np.float64), kind="stable")])
    return hits / np.arange(1, len(hits) + 1), hits / num_truth


def average_precision(correct: np.ndarray, scores: np.ndarray, num_truth: int) -> float:
    """Average precision of one class.

    Args:
      correct: [N] bool, over all images.
      scores: [N]; of equal scores the earlier goes first.
      num_truth: number of true boxes in all images, at least 1.

    Returns:
      AP in [0, 1]; 0 without detections.
    """
    precision, recall = precision_recall_curve(correct, scores, num_truth)
    # Interpolated precision: the largest at this recall or above.
    best_later = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * best_later))


def cardinality_error(logits: jax.Array, valid: jax.Array) -> jax.Array:
    """Measure by how much the number of queries that predict an object differs from the number of objects.

    Args:
      logits: [..., Q, C + 1], "no object" last.
      valid: [..., M] bool, the true boxes; False for padding.

    Returns:
      [...] int32, the absolute difference.
    """
    check_shapes(logits=(logits, "... Q C"), valid=(valid, "mask ... M"))
    # NaN is no decision: it counts as no object.
    is_object = (logits.argmax(-1) < logits.shape[-1] - 1) & ~jnp.isnan(logits).any(-1)  # [..., Q]
    return jnp.abs(is_object.sum(-1, dtype=jnp.int32) - valid.sum(-1, dtype=jnp.int32))


def _iou(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    sides = np.maximum(np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2]), 0)
    intersection = sides.prod(-1)
    union = (box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(-1) - intersection
    return intersection / np.maximum(union, np.finfo(union.dtype).tiny)
