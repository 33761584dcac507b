"""Embeddings as an index and as a lock: recall at k, and the ROC of saying that two are the same. numpy, on the host.

Jégou, Douze & Schmid 2011 (recall@k); Huang et al. 2007 (verification).

    recall@k = share of queries whose k nearest others hold one of their class
    ROC      = (share of different pairs accepted, share of same pairs accepted) as the threshold falls
"""

from typing import NamedTuple

import numpy as np

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
    """Recall@k of queries [N, D] with labels [N].

    gallery: [M, D] with gallery_labels: [M]; without one every query searches among all the others. metric: cosine or
    euclidean. Of equal distances the earlier comes first. Raises: ValueError for shapes, k or a metric that do not fit.
    """
    queries, labels = np.asarray(queries, np.float64), np.asarray(labels)
    own = gallery is None
    if own != (gallery_labels is None):
        raise ValueError("gallery and gallery_labels: give both or neither")
    gallery, gallery_labels = (
        (queries, labels) if own else (np.asarray(gallery, np.float64), np.asarray(gallery_labels))
    )
    for name, v, y in (("queries", queries, labels), ("gallery", gallery, gallery_labels)):
        if v.ndim != 2 or len(v) != len(y) or v.shape[1] != queries.shape[1] or not len(v):
            raise ValueError(
                f"{name} has shape {v.shape} with labels {y.shape}; they must be [N, D] and [N], N above 0"
            )
    if metric not in ("cosine", "euclidean"):
        raise ValueError(f"metric is {metric!r}; it must be 'cosine' or 'euclidean'")
    most = len(gallery) - own
    if not 1 <= k <= most:
        raise ValueError(f"k is {k}; with {most} to search among it must be in 1..{most}")
    if metric == "cosine":
        queries, gallery = _unit(queries), _unit(gallery)
    hits = 0
    for start in range(0, len(queries), _CHUNK):
        part = queries[start : start + _CHUNK]
        distance = -part @ gallery.T if metric == "cosine" else np.square(gallery).sum(1)[None] - 2 * part @ gallery.T
        if own:
            distance[np.arange(len(part)), start + np.arange(len(part))] = np.inf
        near = np.argsort(distance, axis=1, kind="stable")[:, :k]
        hits += (gallery_labels[near] == labels[start : start + _CHUNK, None]).any(1).sum()
    return float(hits / len(queries))


class Verification(NamedTuple):
    """false_accept, true_accept, thresholds: the curve. auc: its area. accuracy: the best over thresholds. eer: where
    as many different pairs are accepted as same ones are refused. true_accept_at: {rate: true accept there}.
    """

    false_accept: np.ndarray
    true_accept: np.ndarray
    thresholds: np.ndarray
    auc: float
    accuracy: float
    eer: float
    true_accept_at: dict[float, float]


def verification(scores: np.ndarray, same: np.ndarray, rates: tuple[float, ...] = (0.1, 0.01, 0.001)) -> Verification:
    """The ROC of pairs: scores [P], larger is more alike; same: [P], whether they are; by scikit-learn.

    rates: of false accepts at which the true accepts are read, without interpolation.
    Raises: ValueError where the shapes differ, or pairs of only one kind are there.
    """
    from sklearn.metrics import auc, roc_curve

    scores, same = np.asarray(scores, np.float64), np.asarray(same).astype(bool)
    if scores.ndim != 1 or scores.shape != same.shape:
        raise ValueError(f"scores has shape {scores.shape} and same {same.shape}; both must be [P]")
    if same.all() or not same.any():
        raise ValueError(f"same holds {int(same.sum())} same pairs of {len(same)}; both kinds are needed")
    false, true, thresholds = roc_curve(same, scores, drop_intermediate=False)
    positive, negative = same.sum(), (~same).sum()
    right = (true * positive + (1 - false) * negative) / len(same)
    gap = false - (1 - true)
    after = int(np.argmax(gap >= 0))
    before = max(after - 1, 0)
    share = 0.0 if gap[after] == gap[before] else -gap[before] / (gap[after] - gap[before])
    eer = false[before] + share * (false[after] - false[before])
    at = {rate: float(true[false <= rate].max()) for rate in rates}
    return Verification(false, true, thresholds, float(auc(false, true)), float(right.max()), float(eer), at)


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
