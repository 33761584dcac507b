"""Search by embedding, and the threshold of saying that two images show the same thing.

Chopra, Hadsell & LeCun 2005 (faces by a learned distance); Schroff et al. 2015 (FaceNet), arXiv:1503.03832.

    search   the k of a gallery with the largest cos(query, image)
    verify   same where cos(a, b) >= t,      t such that at most a given share of different pairs is accepted

Recall at k and the ROC are in `dlcore.metrics.retrieval`; k nearest neighbours that vote in `dlcore.evaluators.knn`.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["Found", "acceptance_threshold", "all_pairs", "search"]


class Found(NamedTuple):
    """index: [N, k] into the gallery, the most alike first. similarity: [N, k], cosines."""

    index: jax.Array
    similarity: jax.Array


def search(queries: Any, gallery: Any, k: int = 5, *, batch_size: int = 256) -> Found:
    """The k of gallery [M, D] most like each of queries [N, D]; of equals the earlier comes first.

    Raises:
      ValueError: queries or gallery are not [N, D] and [M, D], or k is outside 1..M.
    """
    queries, gallery = jnp.asarray(queries, jnp.float32), jnp.asarray(gallery, jnp.float32)
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1] or not len(queries):
        raise ValueError(f"queries has shape {queries.shape} and gallery {gallery.shape}; [N, D] and [M, D] are needed")
    if not 1 <= k <= len(gallery):
        raise ValueError(f"k is {k}; with a gallery of {len(gallery)} it must be in 1..{len(gallery)}")
    return _search(queries, gallery, k, min(batch_size, len(queries)))


def all_pairs(embeddings: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """(cosine [P], same [P] bool) of all P = N (N - 1) / 2 pairs of embeddings [N, D] with labels [N].

    Raises:
      ValueError: the shapes do not fit together, or there are fewer than two.
    """
    embeddings, labels = np.asarray(embeddings, np.float32), np.asarray(labels)
    if embeddings.ndim != 2 or len(embeddings) < 2 or labels.shape != embeddings.shape[:1]:
        raise ValueError(f"embeddings has shape {embeddings.shape} with labels {labels.shape}; [N, D] and [N], N > 1")
    unit = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    i, j = np.triu_indices(len(unit), 1)
    return (unit @ unit.T)[i, j], labels[i] == labels[j]


def acceptance_threshold(similarity: Any, same: Any, false_accepts: float = 0.01) -> float:
    """The smallest t for which at most that share of the different pairs has similarity [P] >= t, in its precision.

    Raises:
      ValueError: shapes differ, no pair is different, or false_accepts is outside [0, 1].
    """
    similarity, same = np.asarray(similarity), np.asarray(same, bool)
    similarity = similarity if similarity.dtype == np.float32 else similarity.astype(np.float64)
    if similarity.ndim != 1 or similarity.shape != same.shape or same.all():
        raise ValueError(f"similarity {similarity.shape} and same {same.shape} must be [P], with some different pairs")
    if not 0 <= false_accepts <= 1:
        raise ValueError(f"false_accepts is {false_accepts}; it must lie in [0, 1]")
    different = np.sort(similarity[~same])[::-1]
    allowed = int(np.floor(false_accepts * len(different) + 1e-9))
    above = np.nextafter(different[min(allowed, len(different) - 1)], similarity.dtype.type(np.inf))
    return float(above) if allowed < len(different) else float(different[-1])


@functools.partial(jax.jit, static_argnums=(2, 3))
def _search(queries, gallery, k, batch_size):
    def unit(x):
        return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)

    gallery = unit(gallery)

    def one(query):
        similarity, index = jax.lax.top_k(jnp.matmul(gallery, unit(query), precision=jax.lax.Precision.HIGHEST), k)
        return Found(index, similarity)

    return jax.lax.map(one, queries, batch_size=batch_size)
