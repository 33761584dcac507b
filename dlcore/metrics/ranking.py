"""Measures of rankings: NDCG, and the average precision of several labels per example. numpy, on the host.

Järvelin & Kekäläinen 2002; Everingham et al. 2010.

    DCG@k  = sum over the first k ranks r = 1, 2, ... of gain / log2(r + 1)         NDCG = DCG / that of the best order
    AP     = sum over thresholds of (recall - recall before) precision              mAP: the mean over labels

Items of equal score share their ranks: each has the mean gain of the tie, as in scikit-learn, so that the order of the
input does not matter.
"""

import numpy as np

from dlcore.ops.checks import check_finite, check_shapes

__all__ = ["multilabel_average_precision", "ndcg"]


def ndcg(relevance: np.ndarray, scores: np.ndarray, k: int | None = None) -> float:
    """Normalized discounted cumulative gain, the mean over queries.

    Args:
      relevance: [Q, N], gain of each item, at least 0.
      scores: [Q, N], by which items are ranked.
      k: ranks that count; None counts all.

    Returns:
      In [0, 1]; a query without a relevant item counts as 0.
    """
    relevance, scores = _two_tables("relevance", relevance, scores)
    if (relevance < 0).any():
        raise ValueError(f"relevance={relevance.min()}: negative; allowed: 0 or more")
    check_shapes(k=(k, "int >= 1 or None"))
    discount = 1 / np.log2(np.arange(relevance.shape[1]) + 2)
    discount[len(discount) if k is None else k :] = 0
    best = -np.sort(-relevance, 1) @ discount
    # Ties share the mean of their gains, so that their order does not matter.
    got = [_tied_means(gain, score) @ discount for gain, score in zip(relevance, scores, strict=True)]
    return float(np.divide(got, best, out=np.zeros(len(best)), where=best > 0).mean())


def multilabel_average_precision(targets: np.ndarray, scores: np.ndarray) -> tuple[float, np.ndarray]:
    """Average precision of each label of examples that may have several, and its mean over the labels that occur.

    Args:
      targets: [N, L] of 0 and 1, which labels each example has.
      scores: [N, L].

    Returns:
      (mAP, AP [L]; NaN for a label that no example has).
    """
    targets, scores = _two_tables("targets", targets, scores)
    if (invalid := targets[(targets != 0) & (targets != 1)]).size:
        raise ValueError(f"targets={invalid[0]:g}: neither 0 nor 1; allowed: 1 where an example has the label, else 0")
    if not targets.any():
        raise ValueError("targets: no example has a label; allowed: at least one 1")
    each = np.array([_average_precision(t > 0, s) for t, s in zip(targets.T, scores.T, strict=True)])
    return float(np.nanmean(each)), each


def _average_precision(is_true: np.ndarray, scores: np.ndarray) -> float:
    if not is_true.any():
        return np.nan
    order = np.argsort(-scores, kind="stable")
    # A threshold accepts tied scores together.
    last_of_tie = np.append(np.diff(scores[order]) != 0, True)
    hits = np.cumsum(is_true[order])[last_of_tie]
    precision = hits / (np.flatnonzero(last_of_tie) + 1)
    return float((np.diff(hits, prepend=0) * precision).sum() / is_true.sum())


def _tied_means(gain: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Gains in the order of falling scores, those of equal scores averaged."""
    _, rank, count = np.unique(-scores, return_inverse=True, return_counts=True)
    return np.repeat(np.bincount(rank, gain) / count, count)


def _two_tables(name: str, values: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values, scores = np.asarray(values, np.float64), np.asarray(scores, np.float64)
    if values.ndim != 2 or values.shape != scores.shape or not values.size:
        raise ValueError(f"{name}={values.shape}, scores={scores.shape}: wrong shapes; allowed: one shape of two axes")
    check_finite(name, values)
    check_finite("scores", scores)
    return values, scores
