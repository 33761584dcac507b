"""k nearest neighbours on features: how well images of a class lie together, without any training.

Wu et al. 2018, arXiv:1805.01978.

    s_i = cos(x, x_i);  score(c) = sum over the k largest s_i with y_i = c of exp(s_i / tau);  the largest wins
"""

from typing import Any

import numpy as np

from dlcore.evaluators.bank import gather
from dlcore.learner import Evaluator

__all__ = ["knn", "knn_predict"]

_CHUNK = 1024


def knn_predict(
    bank: np.ndarray, labels: np.ndarray, queries: np.ndarray, k: int = 20, temperature: float = 0.07
) -> np.ndarray:
    """Classes [M] of queries [M, D] by a bank [N, D] with labels [N]; of equal scores the lowest class wins.

    Raises: ValueError for k outside [1, N] or a temperature that is not positive.
    """
    if not 1 <= k <= len(bank):
        raise ValueError(f"k is {k}; with a bank of {len(bank)} it must be in [1, {len(bank)}]")
    if temperature <= 0:
        raise ValueError(f"temperature is {temperature}; it must be positive")
    bank, queries = _unit(bank), _unit(queries)
    classes = int(labels.max()) + 1
    found = []
    for start in range(0, len(queries), _CHUNK):
        similarity = queries[start : start + _CHUNK] @ bank.T
        near = np.argpartition(-similarity, k - 1, axis=1)[:, :k]
        # The largest similarity is taken out of the exponent, which changes no decision and cannot overflow.
        close = np.take_along_axis(similarity, near, 1)
        weight = np.exp((close - close.max(1, keepdims=True)) / temperature)
        scores = np.zeros((len(near), classes))
        np.add.at(scores, (np.arange(len(near))[:, None], labels[near]), weight)
        found.append(scores.argmax(1))
    return np.concatenate(found)


def knn(source: Any, *, k: int = 20, temperature: float = 0.07, key: str = "features", name: str = "knn") -> Evaluator:
    """The accuracy `name` of k-NN on `outputs[key]`; `source` holds bank and questions, see
    `dlcore.data.bank.with_bank`."""

    def finish(acc) -> dict[str, float]:
        bank, labels, queries, truth = acc.split()
        return {name: float((knn_predict(bank, labels, queries, min(k, len(bank)), temperature) == truth).mean())}

    return Evaluator(gather(key), finish, source)


def _unit(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, np.float32)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
