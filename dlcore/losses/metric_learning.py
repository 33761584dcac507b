"""Losses of distances between embeddings: pairs, rankings, triplets and which triplets to learn from.

    triplet    max(|a - p|^2 - |a - n|^2 + m, 0)                      Schroff et al. 2015 (FaceNet), arXiv:1503.03832
    pair       y d^2 + (1 - y) max(0, m - d)^2,   d = |a - b|         Hadsell, Chopra & LeCun 2006
    cosine     1 - cos(a, b) where y = 1,  max(0, cos(a, b) - m) where y = -1
    hinge      d where y = 1,  max(0, m - d) where y = -1
    ranking    max(0, m - y (s - t))

A triplet is easy where d(a, p) + m <= d(a, n): it costs nothing; hard where d(a, n) <= d(a, p); and semi-hard between.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from dlcore.losses._precision import at_least_float32

__all__ = [
    "TripletKinds",
    "contrastive_loss",
    "cosine_embedding_loss",
    "hinge_embedding_loss",
    "margin_ranking_loss",
    "mined_triplet_loss",
    "pairwise_distances",
    "sample_semi_hard_negatives",
    "triplet_kinds",
    "triplet_loss",
]


class TripletKinds(NamedTuple):
    """Booleans [N, N, N] over (anchor, positive, negative); all False where the three are no triplet."""

    easy: jax.Array
    semi_hard: jax.Array
    hard: jax.Array


def triplet_loss(
    anchor: jax.Array,
    positive: jax.Array,
    negative: jax.Array,
    margin: float | jax.Array = 0.2,
    squared: bool = True,
    swap: bool = False,
) -> jax.Array:
    """The scalar loss of three embeddings [D].

    squared: FaceNet's squared distances; False for plain ones, as in torch, where 1e-6 is added to the differences so
    that equal embeddings have a gradient. swap: take the nearer of |a - n| and |p - n| (Balntas et al. 2016).
    """
    anchor, positive, negative = (at_least_float32(x) for x in (anchor, positive, negative))

    def distance(a, b):
        return jnp.square(a - b).sum() if squared else jnp.linalg.norm(a - b + 1e-6)

    to_negative = distance(anchor, negative)
    if swap:
        to_negative = jnp.minimum(to_negative, distance(positive, negative))
    return jax.nn.relu(distance(anchor, positive) - to_negative + margin)


def pairwise_distances(embeddings: jax.Array, squared: bool = True) -> jax.Array:
    """[N, D] -> [N, N]; no gradient between equal embeddings."""
    embeddings = at_least_float32(embeddings)
    distances = jnp.square(embeddings[:, None] - embeddings[None]).sum(-1)
    return distances if squared else _safe_sqrt(distances)


def triplet_kinds(distances: jax.Array, label: jax.Array, margin: float | jax.Array = 0.2) -> TripletKinds:
    """Which of the N^3 triples are easy, semi-hard and hard triplets, from `distances: [N, N]` and `label: [N] int`."""
    same = label[:, None] == label[None]
    valid = (same & ~jnp.eye(len(label), dtype=bool))[:, :, None] & ~same[:, None, :]
    gap = distances[:, None, :] - distances[:, :, None]
    return TripletKinds(valid & (gap >= margin), valid & (gap > 0) & (gap < margin), valid & (gap <= 0))


def sample_semi_hard_negatives(
    rng: jax.Array, distances: jax.Array, label: jax.Array, margin: float | jax.Array = 0.2
) -> tuple[jax.Array, jax.Array]:
    """(index, found), [N, N] each: for every pair of anchor and positive, a random semi-hard negative, if there is one.

    As in FaceNet; draw anew as the embeddings move.
    """
    candidates = triplet_kinds(distances, label, margin).semi_hard
    chance = jnp.where(candidates, jax.random.uniform(rng, candidates.shape), -1)
    return chance.argmax(-1), candidates.any(-1)


def mined_triplet_loss(
    embeddings: jax.Array,
    label: jax.Array,
    margin: float | jax.Array = 0.2,
    kind: Literal["all", "semi_hard", "hard"] = "semi_hard",
    squared: bool = True,
) -> jax.Array:
    """The mean triplet loss over the triplets of one kind among `embeddings: [N, D]`, `label: [N] int`; 0 without one.

    kind: "all" are those that cost something, semi-hard and hard. Raises ValueError for another kind.
    """
    if kind not in ("all", "semi_hard", "hard"):
        raise ValueError(f"kind is {kind!r}; it must be 'all', 'semi_hard' or 'hard'")
    distances = pairwise_distances(embeddings, squared)
    kinds = triplet_kinds(jax.lax.stop_gradient(distances), label, margin)
    chosen = kinds.semi_hard | kinds.hard if kind == "all" else getattr(kinds, kind)
    losses = distances[:, :, None] - distances[:, None, :] + margin
    return jnp.where(chosen, losses, 0).sum() / jnp.maximum(chosen.sum(), 1)


def contrastive_loss(a: jax.Array, b: jax.Array, same: jax.Array, margin: float | jax.Array = 1.0) -> jax.Array:
    """The scalar loss of two embeddings [D]; same: [], 1 for a similar pair and 0 for another."""
    squared = jnp.square(at_least_float32(a) - at_least_float32(b)).sum()
    return same * squared + (1 - same) * jnp.square(jax.nn.relu(margin - _safe_sqrt(squared)))


def cosine_embedding_loss(a: jax.Array, b: jax.Array, y: jax.Array, margin: float | jax.Array = 0.0) -> jax.Array:
    """The scalar loss of two embeddings [D]; y: [], 1 for a similar pair and -1 for another."""
    a, b = at_least_float32(a), at_least_float32(b)
    cosine = a @ b * jax.lax.rsqrt(a @ a + 1e-12) * jax.lax.rsqrt(b @ b + 1e-12)
    return jnp.where(y > 0, 1 - cosine, jax.nn.relu(cosine - margin))


def hinge_embedding_loss(distance: jax.Array, y: jax.Array, margin: float | jax.Array = 1.0) -> jax.Array:
    """The scalar loss of one pair's distance []; y: [], 1 for a similar pair and -1 for another."""
    distance = at_least_float32(distance)
    return jnp.where(y > 0, distance, jax.nn.relu(margin - distance))


def margin_ranking_loss(
    first: jax.Array, second: jax.Array, y: jax.Array, margin: float | jax.Array = 0.0
) -> jax.Array:
    """The scalar loss of two scores []; y: [], 1 where the first should be the higher by the margin, -1 the second."""
    return jax.nn.relu(margin - y * (at_least_float32(first) - at_least_float32(second)))


def _safe_sqrt(x: jax.Array) -> jax.Array:
    """The root, with no gradient at 0."""
    return jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1)), 0)
