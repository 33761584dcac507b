"""What a detector gets wrong, by kind.

Bolya, Foley, Hays & Hoffman 2020, "TIDE", arXiv:2008.08115, section 2.2. Detections are matched by falling score, each
to the free true box of its class of the highest IoU. One that is matched at IoU >= t_f is right; the others are

    duplicate       IoU >= t_f with a true box of its class that is taken
    wrong class     IoU >= t_f with a true box of another class
    poor box        t_b <= IoU < t_f with a true box of its class
    both            t_b <= IoU < t_f with a true box of another class
    background      IoU < t_b with every true box

the first that holds, and of "poor box" and "both" that of the larger IoU; a true box without a match is missed. TIDE
weighs each kind by the mAP that its repair would bring; this counts.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dlcore.ops.checks import check_class_ids, check_finite

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
      outputs: padded to K boxes: `boxes` [N, K, 4] corners, and `scores`, `labels`, `valid`, each [N, K].
      truth: padded to M boxes: `boxes` [N, M, 4], `labels` and `box_mask` [N, M], and where there is one `crowd`
        [N, M]; a detection without a match is not counted where t_f of it, by area, lies in a crowd of its class, as in
        COCO's evaluation.
      num_classes: C.
      min_score: detections of a lower score are left out.
      foreground: t_f.
      background: t_b.
      by_image: count each image apart.

    Returns:
      int [C, 7], or [N, C, 7] by image, in columns as KINDS; a detection counts for its own class, a missed box for
      its true one.

    Raises:
      ValueError: a label of a detection or of a true box that counts is none of the classes, or a score or a box is not
        finite.
    """
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
    """The kind of a detection that is not matched, by its largest IoU with true boxes of its class and of others."""
    if same_iou >= foreground:
        return "duplicate"
    if other_iou >= foreground:
        return "wrong class"
    if max(same_iou, other_iou) < background:
        return "background"
    return "poor box" if same_iou >= other_iou else "both"


def _overlaps(box: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[4], [M, 4] -> IoU [M], and the intersection's share of the box [M]."""
    corner, opposite = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    intersection = np.prod(np.clip(opposite - corner, 0, None), -1)
    area, areas = np.prod(box[2:] - box[:2]), np.prod(boxes[:, 2:] - boxes[:, :2], -1)
    return intersection / np.maximum(area + areas - intersection, 1e-12), intersection / max(area, 1e-12)
