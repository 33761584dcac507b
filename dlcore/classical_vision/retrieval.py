"""Image retrieval by embedding, and verification: a threshold for deciding that two images show the same thing.

Chopra, Hadsell & LeCun 2005 (faces by a learned distance); Schroff et al. 2015 (FaceNet), arXiv:1503.03832.

    search   the k of a gallery with the largest cos(query, image)
    verify   same where cos(a, b) >= t,      t such that at most a given share of different pairs is accepted

Recall at k and the ROC are in `dlcore.metrics.retrieval`; k nearest neighbors that vote in `dlcore.evaluators.knn`.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_whole_number
from dlcore.ops.checks import check_classes, check_finite
from dlcore.ops.l2_normalize import l2_normalize, unit_rows

__all__ = ["SearchResult", "acceptance_threshold", "all_pairs", "search"]


class SearchResult(NamedTuple):
    """The nearest gallery items of each query.

    Args:
      index: [N, k] into the gallery, the most similar first.
      similarity: [N, k], cosines.
    """

    index: jax.Array
    similarity: jax.Array


def search(queries: Any, gallery: Any, k: int = 5, *, batch_size: int = 256) -> SearchResult:
    """Search a gallery for the k items most similar to each query; of equals the earlier comes first.

    Args:
      queries: [N, D], embeddings.
      gallery: [M, D], embeddings.
      k: in 1..M.
      batch_size: queries at a time.

    Returns:
      SearchResult.
    """
    check_finite("queries", queries)
    check_finite("gallery", gallery)
    queries, gallery = jnp.asarray(queries, jnp.float32), jnp.asarray(gallery, jnp.float32)
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1] or not len(queries):
        raise ValueError(
            f"queries.shape={queries.shape} and gallery.shape={gallery.shape}: do not fit; allowed: [N, D] and [M, D]"
        )
    check_whole_number("k", k)
    check_whole_number("batch_size", batch_size, 1)
    if not 1 <= k <= len(gallery):
        raise ValueError(f"k={k}: out of range; allowed: 1..{len(gallery)}")
    return _search(queries, gallery, k, min(batch_size, len(queries)))


def all_pairs(embeddings: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """Compare all P = N (N - 1) / 2 pairs of embeddings.

    Args:
      embeddings: [N, D], N at least 2.
      labels: [N].

    Returns:
      (cosines [P], whether the labels are equal [P]).
    """
    check_finite("embeddings", embeddings)
    embeddings, labels = np.asarray(embeddings, np.float32), np.asarray(labels)
    if embeddings.ndim != 2 or len(embeddings) < 2 or labels.shape != embeddings.shape[:1]:
        raise ValueError(
            f"embeddings.shape={embeddings.shape} and labels.shape={labels.shape}: do not fit; "
            "allowed: [N, D] and [N], N > 1"
        )
    check_classes("labels", labels)
    unit = unit_rows(embeddings).astype(np.float32)
    i, j = np.triu_indices(len(unit), 1)
    return (unit @ unit.T)[i, j], labels[i] == labels[j]


def acceptance_threshold(similarity: Any, same: Any, false_accept_rate: float = 0.01) -> float:
    """Find the smallest threshold t that accepts at most a given share of the different pairs (similarity >= t).

    Args:
      similarity: [P]; t is exact in its precision.
      same: [P] bool, at least one False.
      false_accept_rate: share of the different pairs that may be accepted, in [0, 1].

    Returns:
      The threshold t.
    """
    check_finite("similarity", similarity)
    similarity, same = np.asarray(similarity), np.asarray(same, bool)
    similarity = similarity if similarity.dtype == np.float32 else similarity.astype(np.float64)
    if similarity.ndim != 1 or similarity.shape != same.shape or same.all():
        raise ValueError(
            f"similarity.shape={similarity.shape} and same.shape={same.shape}: do not fit; "
            "allowed: [P], with some different pairs"
        )
    check_finite("false_accept_rate", false_accept_rate)
    if not 0 <= false_accept_rate <= 1:
        raise ValueError(f"false_accept_rate={false_accept_rate}: out of range; allowed: [0, 1]")
    different = np.sort(similarity[~same])[::-1]
    allowed = int(np.floor(false_accept_rate * len(different) + 1e-9))
    # Just above the first different pair that may not be accepted.
    above = np.nextafter(different[min(allowed, len(different) - 1)], similarity.dtype.type(np.inf))
    return float(above) if allowed < len(different) else float(different[-1])


@functools.partial(jax.jit, static_argnums=(2, 3))
def _search(queries, gallery, k, batch_size):
    gallery = l2_normalize(gallery, floor=0)

    def one(query):
        similarity, index = jax.lax.top_k(
            jnp.matmul(gallery, l2_normalize(query, floor=0), precision=jax.lax.Precision.HIGHEST), k
        )
        return SearchResult(index, similarity)

    return jax.lax.map(one, queries, batch_size=batch_size)
