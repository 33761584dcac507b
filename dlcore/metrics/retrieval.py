"""Retrieval and verification by embeddings: recall at k, and the ROC of same-or-different pairs. numpy, on the host.

Jégou, Douze & Schmid 2011 (recall@k); Huang et al. 2007 (verification).

    recall@k = share of queries whose k nearest others hold one of their class
    ROC      = (share of different pairs accepted, share of same pairs accepted) as the threshold falls
"""

from typing import NamedTuple

import numpy as np

from dlcore.choices import check_choice, check_whole_number
from dlcore.ops.checks import check_classes, check_finite, check_range, check_values
from dlcore.ops.l2_normalize import unit_rows

__all__ = ["Verification", "recall_at_k", "verification"]

_CHUNK = 1024


def recall_at_k(
    queries: np.ndarray,
    labels: np.ndarray,
    k: int = 1,
    gallery: np.ndarray | None = None,
    gallery_labels: np.ndarray | None = None,
    metric: str = "cosine",
) -> float:
    """Recall@k: the share of queries with one of their class among the k nearest.

    Args:
      queries: [N, D], embeddings.
      labels: [N], classes.
      k: how many neighbors count; of equal distances the earlier comes first.
      gallery: [M, D], embeddings to search; None to search among all other queries.
      gallery_labels: [M], classes; None with `gallery`.
      metric: "cosine" or "euclidean".

    Returns:
      The share, in [0, 1].
    """
    check_finite("queries", queries)
    queries, labels = np.asarray(queries, np.float64), np.asarray(labels)
    is_self = gallery is None
    if is_self != (gallery_labels is None):
        raise ValueError("gallery=..., gallery_labels=...: one is missing; allowed: both or neither")
    if gallery is not None:
        check_finite("gallery", gallery)
    database = queries if gallery is None else np.asarray(gallery, np.float64)
    database_labels = labels if gallery_labels is None else np.asarray(gallery_labels)
    for name, v, y in (("queries", queries, labels), ("gallery", database, database_labels)):
        if v.ndim != 2 or y.shape != v.shape[:1] or v.shape[1] != queries.shape[1] or not len(v):
            raise ValueError(f"{name}={v.shape}: wrong shape with labels {y.shape}; allowed: [N, D] and [N], N above 0")
        check_classes("labels" if name == "queries" else "gallery_labels", y)
    check_choice("metric", metric, ("cosine", "euclidean"))
    most = len(database) - is_self
    check_whole_number("k", k)
    if not 1 <= k <= most:
        raise ValueError(f"k={k}: out of range; allowed: 1 to {most}, the number to search among")
    if metric == "cosine":
        queries, database = unit_rows(queries), unit_rows(database)
    else:
        center = database.mean(0)
        queries, database = queries - center, database - center
    hits = 0
    for start in range(0, len(queries), _CHUNK):
        part = queries[start : start + _CHUNK]
        distance = (
            -part @ database.T if metric == "cosine" else np.square(database).sum(1)[None] - 2 * part @ database.T
        )
        if is_self:
            # A query does not find itself.
            distance[np.arange(len(part)), start + np.arange(len(part))] = np.inf
        near = np.argsort(distance, axis=1, kind="stable")[:, :k]
        hits += (database_labels[near] == labels[start : start + _CHUNK, None]).any(1).sum()
    return float(hits / len(queries))


class Verification(NamedTuple):
    """The ROC of a verifier and what is read from it.

    Args:
      false_accept: share of different pairs accepted, at each threshold.
      true_accept: share of same pairs accepted, at each threshold.
      thresholds: falling scores.
      auc: area under the curve.
      accuracy: best over all thresholds.
      eer: equal error rate, where as many different pairs are accepted as same ones are refused.
      true_accept_at: {rate of false accepts: rate of true accepts there}.
    """

    false_accept: np.ndarray
    true_accept: np.ndarray
    thresholds: np.ndarray
    auc: float
    accuracy: float
    eer: float
    true_accept_at: dict[float, float]


def verification(scores: np.ndarray, same: np.ndarray, rates: tuple[float, ...] = (0.1, 0.01, 0.001)) -> Verification:
    """ROC of pairs, by scikit-learn.

    Args:
      scores: [P], larger is more alike.
      same: [P], whether the pair is of one class.
      rates: rates of false accepts at which to read the true accepts, without interpolation.

    Returns:
      The curve and its summary.
    """
    from sklearn.metrics import auc, roc_curve

    check_values("same", same, (0, 1))
    scores, same = np.asarray(scores, np.float64), np.asarray(same).astype(bool)
    if scores.ndim != 1 or scores.shape != same.shape:
        raise ValueError(f"scores={scores.shape}, same={same.shape}: wrong shapes; allowed: [P] for both")
    check_finite("scores", scores)
    check_range("rates", rates, 0, 1)
    if same.all() or not same.any():
        raise ValueError(f"same={int(same.sum())} of {len(same)} pairs: only one kind; allowed: pairs of both kinds")
    fpr, tpr, thresholds = roc_curve(same, scores, drop_intermediate=False)
    positive, negative = same.sum(), (~same).sum()
    correct = (tpr * positive + (1 - fpr) * negative) / len(same)
    # Equal error rate: where false accepts and false rejects cross, interpolated.
    gap = fpr - (1 - tpr)
    after = int(np.argmax(gap >= 0))
    before = after - 1  # the curve begins at (0, 0), with a gap of -1
    fraction = -gap[before] / (gap[after] - gap[before])
    eer = fpr[before] + fraction * (fpr[after] - fpr[before])
    at = {rate: float(tpr[fpr <= rate].max()) for rate in rates}
    return Verification(fpr, tpr, thresholds, float(auc(fpr, tpr)), float(correct.max()), float(eer), at)
