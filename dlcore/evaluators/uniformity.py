"""Uniformity: how evenly embeddings cover the sphere; lower is better.

Wang & Isola 2020, arXiv:2005.10242.

    log mean over pairs x != y of exp(-2 |x - y|^2)

It uses all pairs of the data set, so that it does not depend on batches.
"""

from typing import Any

import numpy as np

from dlcore.evaluators.feature_memory import collect_features
from dlcore.learner import Evaluator
from dlcore.ops.checks import check_finite, check_shapes

__all__ = ["uniformity", "uniformity_of"]

_CHUNK = 1024
_MOST = 10_000


def uniformity_of(embeddings: np.ndarray, t: float = 2.0) -> float:
    """Compute the uniformity of embeddings; of more than 10,000, that of 10,000 evenly spaced ones.

    Args:
      embeddings: [N, E], N at least 2, usually normalized.
      t: decay rate of the potential e^{-t |x - y|^2}.

    Returns:
      The logarithm of the mean potential, at most 0; 0 if all embeddings are equal.
    """
    check_shapes(embeddings=(embeddings, "N E"), t=(t, "> 0"))
    check_finite("t", t)
    if len(embeddings) < 2:
        raise ValueError(f"embeddings: {len(embeddings)} of them; allowed: at least 2")
    count = min(len(embeddings), _MOST)
    check_finite("embeddings", embeddings)
    z = np.asarray(embeddings, np.float64)[np.linspace(0, len(embeddings) - 1, count).astype(int)]
    z = z - z.mean(0)
    norm = np.square(z).sum(1)
    log_total = -np.inf
    for start in range(0, count, _CHUNK):
        rows = slice(start, start + _CHUNK)
        squared = np.maximum(norm[rows, None] + norm - 2 * z[rows] @ z.T, 0)
        exponents = -t * squared
        exponents[np.arange(len(exponents)), np.arange(count)[rows]] = -np.inf  # an embedding is no pair with itself
        # Log-sum-exp: potentials of far embeddings underflow to 0.
        largest = exponents.max()
        log_total = np.logaddexp(log_total, largest + np.log(np.exp(exponents - largest).sum()))
    return float(log_total - np.log(count * (count - 1)))


def uniformity(source: Any, *, key: str = "embeddings", name: str = "uniformity") -> Evaluator:
    """Build the evaluator of the uniformity of the queries' embeddings.

    Args:
      source: bank and queries, from `dlcore.data.bank_and_queries`.
      key: name of the embeddings [B, E] among the outputs of `predict`.
      name: name of the metric.

    Returns:
      The evaluator of one metric.
    """

    def finish(acc) -> dict[str, float]:
        queries = acc.split()[2]
        return {name: uniformity_of(queries) if len(queries) > 1 else 0.0}

    return Evaluator(collect_features(key), finish, source, (name,))
