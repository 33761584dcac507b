"""How well tracks keep identities: MOTA, IDF1 and HOTA, in numpy on the host.

A pair of boxes of one frame can match where their IoU is at least a threshold.

    MOTA  = 1 - (FN + FP + IDSW) / number of true boxes               by frame; pairs of the frame before go first,
                                                                      then those of the largest sum of IoU
    IDF1  = 2 IDTP / (true boxes + predicted boxes)                   one assignment of whole tracks to whole tracks,
                                                                      of the most frames in which both boxes match
    HOTA  = mean over a = 0.05, 0.1, .., 0.95 of sqrt(DetA_a AssA_a)  a: the threshold
    DetA  = TP / (TP + FN + FP),   AssA = 1/TP sum over TP c of TPA(c) / (TPA(c) + FNA(c) + FPA(c))

IDSW counts the matches of a true track with another predicted track than in its last match. TPA(c) are the matches of
the two tracks of c with each other; FNA and FPA are the other boxes of the true and of the predicted one. Bernardin &
Stiefelhagen 2008 (CLEAR MOT); Ristani et al. 2016, arXiv:1609.01775 (IDF1); Luiten et al. 2021, arXiv:2009.07736
(HOTA), whose matching of a frame maximizes the IoU times the alignment of the two tracks over the whole clip.

Several clips are pooled by joining them along their frames, with ids that differ between clips.
"""

from typing import NamedTuple

import numpy as np

from dlcore.ops.checks import check_finite, check_range, check_shapes

__all__ = ["HOTA_THRESHOLDS", "ClearMOT", "Hota", "clear_mot", "hota", "idf1"]

HOTA_THRESHOLDS = np.arange(1, 20) / 20
"""IoU thresholds over which HOTA is averaged."""

_ROUNDING = 1e-9


class ClearMOT(NamedTuple):
    """Errors by frame, and MOTA.

    Args:
      mota: multiple-object tracking accuracy, at most 1; negative where there are more errors than true boxes.
      false_negatives: true boxes without a match.
      false_positives: predicted boxes without a match.
      switches: changes of identity, IDSW.
      num_boxes: number of true boxes.
    """

    mota: float
    false_negatives: int
    false_positives: int
    switches: int
    num_boxes: int


class Hota(NamedTuple):
    """Higher-order tracking accuracy, each a mean over HOTA_THRESHOLDS in [0, 1].

    Args:
      hota: geometric mean of both parts.
      det_a: detection accuracy.
      ass_a: association accuracy.
    """

    hota: float
    det_a: float
    ass_a: float


class _Clip(NamedTuple):
    """By frame: (true tracks, predicted tracks, IoU of their boxes), tracks by index; and the boxes of each track."""

    frames: list[tuple[np.ndarray, np.ndarray, np.ndarray]]
    target_counts: np.ndarray
    predicted_counts: np.ndarray


def clear_mot(
    target_boxes: np.ndarray,
    target_ids: np.ndarray,
    predicted_boxes: np.ndarray,
    predicted_ids: np.ndarray,
    threshold: float = 0.5,
) -> ClearMOT:
    """Count misses, false alarms and changes of identity.

    Args:
      target_boxes: [F, N, 4] (x0, y0, x1, y1), the true boxes of F frames.
      target_ids: [F, N] int, the true track of each box; -1 for padding.
      predicted_boxes: [F, M, 4].
      predicted_ids: [F, M] int; -1 for padding.
      threshold: least IoU of a match.

    Returns:
      The counts, and MOTA.
    """
    check_shapes(threshold=(threshold, "0 to 1"))
    clip = _clip(target_boxes, target_ids, predicted_boxes, predicted_ids)
    last_match = np.full(len(clip.target_counts), -1)
    previous = np.full(len(clip.target_counts), -1)  # of the frame before only
    num_matches = switches = 0
    for targets, predicted, iou in clip.frames:
        score = np.where(_reaches(iou, threshold), iou, 0)
        bonus = 1 + min(iou.shape)  # above any sum of IoUs
        rows, columns = _assign(score + bonus * (score > 0) * (previous[targets][:, None] == predicted))
        matched = score[rows, columns] > 0
        rows, columns = targets[rows[matched]], predicted[columns[matched]]
        switches += int(((last_match[rows] >= 0) & (last_match[rows] != columns)).sum())
        previous[:] = -1
        previous[rows] = last_match[rows] = columns
        num_matches += len(rows)
    num_boxes = int(clip.target_counts.sum())
    misses, alarms = num_boxes - num_matches, int(clip.predicted_counts.sum()) - num_matches
    return ClearMOT(1 - (misses + alarms + switches) / num_boxes, misses, alarms, switches, num_boxes)


def idf1(
    target_boxes: np.ndarray,
    target_ids: np.ndarray,
    predicted_boxes: np.ndarray,
    predicted_ids: np.ndarray,
    threshold: float = 0.5,
) -> float:
    """Measure how many boxes have the identity that suits their whole track best.

    Args:
      target_boxes: [F, N, 4] (x0, y0, x1, y1), the true boxes of F frames.
      target_ids: [F, N] int, the true track of each box; -1 for padding.
      predicted_boxes: [F, M, 4].
      predicted_ids: [F, M] int; -1 for padding.
      threshold: least IoU of a match.

    Returns:
      IDF1 in [0, 1].
    """
    check_shapes(threshold=(threshold, "0 to 1"))
    clip = _clip(target_boxes, target_ids, predicted_boxes, predicted_ids)
    frames_together = np.zeros((len(clip.target_counts), len(clip.predicted_counts)))
    for targets, predicted, iou in clip.frames:
        frames_together[np.ix_(targets, predicted)] += _reaches(iou, threshold)
    num_true_positives = frames_together[_assign(frames_together)].sum()
    return float(2 * num_true_positives / (clip.target_counts.sum() + clip.predicted_counts.sum()))


def hota(
    target_boxes: np.ndarray, target_ids: np.ndarray, predicted_boxes: np.ndarray, predicted_ids: np.ndarray
) -> Hota:
    """Measure detection and association alike, over all IoU thresholds.

    Args:
      target_boxes: [F, N, 4] (x0, y0, x1, y1), the true boxes of F frames.
      target_ids: [F, N] int, the true track of each box; -1 for padding.
      predicted_boxes: [F, M, 4].
      predicted_ids: [F, M] int; -1 for padding.

    Returns:
      HOTA, DetA and AssA.
    """
    clip = _clip(target_boxes, target_ids, predicted_boxes, predicted_ids)
    num_targets, num_predicted = clip.target_counts[:, None], clip.predicted_counts[None]
    # Alignment of tracks: the Jaccard index of their boxes, where a pair counts by its part of the IoUs around it.
    together = np.zeros((len(clip.target_counts), len(clip.predicted_counts)))
    for targets, predicted, iou in clip.frames:
        around = iou.sum(0) + iou.sum(1, keepdims=True) - iou
        together[np.ix_(targets, predicted)] += np.divide(iou, around, out=np.zeros_like(iou), where=around > 0)
    alignment = together / (num_targets + num_predicted - together)
    # One matching a frame serves all thresholds.
    matches = np.zeros((len(HOTA_THRESHOLDS), *together.shape))
    for targets, predicted, iou in clip.frames:
        rows, columns = _assign(alignment[np.ix_(targets, predicted)] * iou)
        for k, threshold in enumerate(HOTA_THRESHOLDS):
            matched = _reaches(iou[rows, columns], threshold)
            matches[k, targets[rows[matched]], predicted[columns[matched]]] += 1
    num_true_positives = matches.sum((1, 2))
    det_a = num_true_positives / (num_targets.sum() + num_predicted.sum() - num_true_positives)
    jaccard = matches / (num_targets + num_predicted - matches)
    ass_a = (matches * jaccard).sum((1, 2)) / np.maximum(num_true_positives, 1)
    return Hota(float(np.sqrt(det_a * ass_a).mean()), float(det_a.mean()), float(ass_a.mean()))


def _reaches(iou: np.ndarray, threshold: float) -> np.ndarray:
    return (iou >= threshold - _ROUNDING) & (iou > 0)


def _assign(score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from scipy.optimize import linear_sum_assignment

    return linear_sum_assignment(score, maximize=True)


def _clip(target_boxes, target_ids, predicted_boxes, predicted_ids) -> _Clip:
    if len(target_boxes) != len(predicted_boxes):
        raise ValueError(f"predicted_boxes={len(predicted_boxes)} frames; allowed: {len(target_boxes)}, the targets'")
    if len(target_boxes) < 2:
        raise ValueError(f"target_boxes={len(target_boxes)} frame(s): no tracks; allowed: at least 2 frames")
    check_shapes(target_boxes=(target_boxes, "F N 4"), target_ids=(target_ids, "int F N"))
    check_shapes(predicted_boxes=(predicted_boxes, "F M 4"), predicted_ids=(predicted_ids, "int F M"))
    target_boxes, targets, target_counts = _by_track("target", target_boxes, target_ids)
    predicted_boxes, predicted, predicted_counts = _by_track("predicted", predicted_boxes, predicted_ids)
    if not len(target_counts):
        raise ValueError("target_ids: all are -1, no true box; allowed: at least one track")
    frames = []
    for a, i, b, j in zip(target_boxes, targets, predicted_boxes, predicted, strict=True):
        frames.append((i[i >= 0], j[j >= 0], _iou(a[i >= 0], b[j >= 0])))
    return _Clip(frames, target_counts, predicted_counts)


def _by_track(name: str, boxes: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Check one side: (boxes, track of each box by index or -1, boxes of each track)."""
    boxes, ids = np.asarray(boxes, np.float64), np.asarray(ids)
    check_range(f"{name}_ids", ids, -1)
    valid = ids >= 0
    check_finite(f"{name}_boxes", np.where(valid[..., None], boxes, 0))
    empty = valid & (boxes[..., 2:] <= boxes[..., :2]).any(-1)
    if empty.any():
        f, n = np.argwhere(empty)[0]
        raise ValueError(f"{name}_boxes[{f}, {n}]={boxes[f, n]}: no area; allowed: x0 < x1 and y0 < y1")
    for f, frame in enumerate(ids):
        values, counts = np.unique(frame[frame >= 0], return_counts=True)
        if (counts > 1).any():
            twice = values[counts > 1][0]
            raise ValueError(f"{name}_ids[{f}]={twice}: twice in a frame; allowed: each id at most once a frame")
    values, counts = np.unique(ids[valid], return_counts=True)
    return boxes, np.where(valid, np.searchsorted(values, ids), -1), counts


def _iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the IoU [N, M] of boxes [N, 4] and [M, 4] that have an area."""
    a, b = a[:, None], b[None]
    sides = np.maximum(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0)
    inner = sides.prod(-1)
    return inner / ((a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - inner)
