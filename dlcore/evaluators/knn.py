"""k-nearest-neighbor classification on frozen features.

Wu et al. 2018, arXiv:1805.01978.

    s_i = cos(x, x_i);  score(c) = sum over the k largest s_i with y_i = c of exp(s_i / tau);  the largest wins
"""

from typing import Any

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.evaluators.feature_memory import collect_features
from dlcore.learner import Evaluator
from dlcore.ops.checks import check_finite, check_shapes
from dlcore.ops.l2_normalize import unit_rows

__all__ = ["knn", "knn_predict"]

_CHUNK = 1024


def knn_predict(
    bank: np.ndarray, labels: np.ndarray, queries: np.ndarray, k: int = 20, temperature: float = 0.07
) -> np.ndarray:
    """Classify by a weighted vote of the nearest neighbors; of equal scores the lowest class wins.

    Args:
      bank: [N, D] features with known classes.
      labels: [N] int, their classes, from 0.
      queries: [M, D] features to classify.
      k: number of neighbors.
      temperature: tau; smaller values weight the nearest neighbors more.

    Returns:
      [M] int classes.
    """
    bank, labels, queries = np.asarray(bank), np.asarray(labels), np.asarray(queries)
    check_shapes(bank=(bank, "N D"), labels=(labels, "N"), queries=(queries, "M W"))
    check_shapes(temperature=(temperature, "> 0"))
    check_whole_number("k", k)
    if bank.shape[1] != queries.shape[1]:
        raise ValueError(f"queries={queries.shape}: another width than the bank; allowed: [M, {bank.shape[1]}]")
    if not 1 <= k <= len(bank):
        raise ValueError(f"k={k}: out of range; allowed: 1 to {len(bank)}, the size of the bank")
    if not len(queries):
        raise ValueError("queries=[0]: none; allowed: at least 1")
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0:
        invalid = labels.min() if np.issubdtype(labels.dtype, np.integer) else labels.dtype
        raise ValueError(f"labels={invalid}: no class; allowed: integers from 0")
    check_finite("bank", bank)
    check_finite("queries", queries)
    bank, queries = unit_rows(bank), unit_rows(queries)
    classes = int(labels.max()) + 1
    predictions = []
    for start in range(0, len(queries), _CHUNK):
        similarity = queries[start : start + _CHUNK] @ bank.T
        neighbor_idx = np.argpartition(-similarity, k - 1, axis=1)[:, :k]
        # Subtracting the largest similarity changes no decision and prevents overflow.
        neighbor_similarity = np.take_along_axis(similarity, neighbor_idx, 1)
        weight = np.exp((neighbor_similarity - neighbor_similarity.max(1, keepdims=True)) / temperature)
        scores = np.zeros((len(neighbor_idx), classes))
        np.add.at(scores, (np.arange(len(neighbor_idx))[:, None], labels[neighbor_idx]), weight)
        predictions.append(scores.argmax(1))
    return np.concatenate(predictions)


def knn(source: Any, *, k: int = 20, temperature: float = 0.07, key: str = "features", name: str = "knn") -> Evaluator:
    """Build the evaluator of k-NN accuracy on features.

    Args:
      source: bank and queries, from `dlcore.data.bank_and_queries`.
      k: number of neighbors, at most the size of the bank.
      temperature: tau of the vote.
      key: name of the features [B, D] in the outputs of `predict`.
      name: name of the metric.

    Returns:
      The evaluator of the accuracy on the queries.
    """
    check_shapes(k=(k, "int >= 1"), temperature=(temperature, "> 0"))

    def finish(acc) -> dict[str, float]:
        bank, labels, queries, targets = acc.split()
        return {name: float((knn_predict(bank, labels, queries, k, temperature) == targets).mean())}

    return Evaluator(collect_features(key), finish, source, (name,))
