"""Errors of a detector, by kind.

Bolya, Foley, Hays & Hoffman 2020, "TIDE", arXiv:2008.08115, section 2.2. Detections are matched in the order of
falling scores, each to the unmatched true box of its class with the highest IoU. A match at IoU >= t_f is correct; the
other detections are

    duplicate       IoU >= t_f with a matched true box of its class
    wrong class     IoU >= t_f with a true box of another class
    poor box        t_b <= IoU < t_f with a true box of its class
    both            t_b <= IoU < t_f with a true box of another class
    background      IoU < t_b with every true box

The first that holds applies; of "poor box" and "both" the one with the larger IoU. A true box without a match is
missed. TIDE weights each kind by the mAP that fixing it would add; here errors are counted.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dlcore.ops.checks import check_class_ids, check_finite, check_keys, check_shapes

__all__ = ["KINDS", "detection_errors"]

KINDS = ("right", "duplicate", "wrong class", "poor box", "both", "background", "missed")
"""Columns of the counts."""


def detection_errors(
    outputs: Mapping[str, Any],
    truth: Mapping[str, Any],
    num_classes: int,
    min_score: float = 0.3,
    foreground: float = 0.5,
    background: float = 0.1,
    by_image: bool = False,
) -> np.ndarray:
    """Count the detections, and the missed true boxes, by class and kind.

    Args:
      outputs: predictions, padded to K boxes: `boxes` [N, K, 4] corners, and `scores`, `labels`, `valid`, each [N, K].
      truth: targets, padded to M boxes: `boxes` [N, M, 4], `labels` and `box_mask` [N, M], and optionally `crowd`
        [N, M]; an unmatched detection is ignored if at least t_f of its area lies in a crowd of its class, as in COCO's
        evaluation.
      num_classes: number of classes, C.
      min_score: least score of a counted detection.
      foreground: IoU threshold t_f.
      background: IoU threshold t_b.
      by_image: return counts for each image.

    Returns:
      int [C, 7], or [N, C, 7] by image, with the columns KINDS; a detection counts for its predicted class, a missed
      box for its true class.
    """
    check_shapes(num_classes=(num_classes, "int >= 1"))
    check_shapes(min_score=(min_score, "0 to 1"), foreground=(foreground, "0 to 1"), background=(background, "0 to 1"))
    if background > foreground:
        raise ValueError(f"background={background}: above foreground; allowed: at most foreground={foreground}")
    check_keys("outputs", outputs, ("boxes", "scores", "labels", "valid"))
    check_keys("truth", truth, ("boxes", "labels", "box_mask"))
    parts = {"labels": "N K", "boxes": "N K 4"}
    for name, rows, more in (("outputs", outputs, ("scores", "valid")), ("truth", truth, ("box_mask",))):
        check_shapes(
            **{f"{name}: {part}": (rows[part], axes) for part, axes in (parts | dict.fromkeys(more, "N K")).items()}
        )
    if len(outputs["boxes"]) != len(truth["boxes"]):
        raise ValueError(f"truth={len(truth['boxes'])} images: of {len(outputs['boxes'])} outputs; allowed: as many")
    for name, rows, mask in (("outputs", outputs, outputs["valid"]), ("truth", truth, truth["box_mask"])):
        is_valid = np.asarray(mask) > 0
        check_class_ids(f"{name}: labels", np.asarray(rows["labels"])[is_valid], num_classes)
        for part in ("boxes", "scores"):
            if part in rows:
                check_finite(f"{name}: {part}", np.asarray(rows[part])[is_valid])
    counts = np.zeros((len(outputs["boxes"]), num_classes, len(KINDS)), int)
    for i, own_counts in enumerate(counts):
        boxes, scores, labels, valid = (np.asarray(outputs[k][i]) for k in ("boxes", "scores", "labels", "valid"))
        selected_idx = np.flatnonzero((valid > 0) & (scores >= min_score))
        selected_idx = selected_idx[np.argsort(-scores[selected_idx], kind="stable")]
        crowd = np.asarray(truth["crowd"][i] if "crowd" in truth else np.zeros(len(truth["labels"][i]))) > 0
        is_target = (np.asarray(truth["box_mask"][i]) > 0) & ~crowd
        true_boxes, true_labels = np.asarray(truth["boxes"][i]), np.asarray(truth["labels"][i])
        is_matched = ~is_target
        for j in selected_idx:
            label, (iou, inside) = int(labels[j]), _overlaps(boxes[j], true_boxes)
            same = true_labels == label
            free = np.where(same & ~is_matched, iou, -1.0)
            if free.size and free.max() >= foreground:
                is_matched[free.argmax()] = True
                kind = "right"
            elif (same & crowd & (inside >= foreground)).any():
                continue
            else:
                same_iou, other_iou = (np.where(is_target & mask, iou, 0.0).max(initial=0.0) for mask in (same, ~same))
                kind = _kind(same_iou, other_iou, foreground, background)
            own_counts[label, KINDS.index(kind)] += 1
        np.add.at(own_counts[:, KINDS.index("missed")], true_labels[~is_matched], 1)
    return counts if by_image else counts.sum(0)


def _kind(same_iou: float, other_iou: float, foreground: float, background: float) -> str:
    """Classify an unmatched detection by its largest IoU with true boxes of its class and of other classes."""
    if same_iou >= foreground:
        return "duplicate"
    if other_iou >= foreground:
        return "wrong class"
    if max(same_iou, other_iou) < background:
        return "background"
    return "poor box" if same_iou >= other_iou else "both"


def _overlaps(box: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute from [4], [M, 4] the IoU [M], and the intersection over the box's area [M]."""
    corner, opposite = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    intersection = np.prod(np.clip(opposite - corner, 0, None), -1)
    area, areas = np.prod(box[2:] - box[:2]), np.prod(boxes[:, 2:] - boxes[:, :2], -1)
    return intersection / np.maximum(area + areas - intersection, 1e-12), intersection / max(area, 1e-12)
