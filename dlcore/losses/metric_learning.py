"""Losses of distances between embeddings: pairs, rankings, triplets and which triplets to learn from.

    triplet    max(|a - p|^2 - |a - n|^2 + m, 0)                      Schroff et al. 2015 (FaceNet), arXiv:1503.03832
    pair       y d^2 + (1 - y) max(0, m - d)^2,   d = |a - b|         Hadsell, Chopra & LeCun 2006
    cosine     1 - cos(a, b) where y = 1,  max(0, cos(a, b) - m) where y = -1
    hinge      d where y = 1,  max(0, m - d) where y = -1
    ranking    max(0, m - y (s - t))

A triplet is easy where d(a, p) + m <= d(a, n): it costs nothing; hard where d(a, n) <= d(a, p); and semi-hard between.
Mining couples the examples of a batch: its functions take [N, D] or [N, N], the other losses batch axes.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from dlcore.choices import check_choice
from dlcore.losses.objective import masked_mean
from dlcore.ops.checks import check_range, check_shapes, check_values
from dlcore.ops.l2_normalize import cosine_distance
from dlcore.ops.moments import squared_distances
from dlcore.ops.precision import to_acc_dtype, to_same_origin
from dlcore.ops.square_root import safe_sqrt

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
    """Which (anchor, positive, negative) are triplets of a kind; no kind where the three are no triplet.

    Args:
      easy: [N, N, N] bool, the negative is farther than the positive by the margin.
      semi_hard: [N, N, N] bool, the negative is farther, but by less than the margin.
      hard: [N, N, N] bool, the negative is no farther than the positive.
    """

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
    p: float = 2.0,
) -> jax.Array:
    """Triplet margin loss: the negative should be farther from the anchor than the positive.

    Args:
      anchor: [..., D], embeddings.
      positive: [..., D], embeddings of the anchors' classes.
      negative: [..., D], embeddings of other classes.
      margin: m, by how much the negative should be farther.
      squared: compare squared distances, as FaceNet; otherwise plain ones, as torch, which adds 1e-6 to the
        differences so that equal embeddings have a gradient.
      swap: take the nearer of |a - n| and |p - n| (Balntas et al. 2016).
      p: order of the norm of plain distances: 2 is Euclid's, 1 the sum of absolute differences.

    Returns:
      [...], one loss a triplet.
    """
    if squared and p != 2:
        raise ValueError(f"p={p}: the square of Euclid's distance alone has no root; allowed: 2, or squared=False")
    anchor, positive, negative = to_same_origin(anchor, positive, negative)
    check_shapes(anchor=(anchor, "... D"), positive=(positive, "... D"), negative=(negative, "... D"))
    check_shapes(margin=(margin, ">= 0"))
    check_shapes(p=(p, "> 0"))

    def pairwise_distance(a, b):
        return jnp.square(a - b).sum(-1) if squared else jnp.linalg.norm(a - b + 1e-6, ord=p, axis=-1)

    to_negative = pairwise_distance(anchor, negative)  # [...]
    # Distance swap: the closer of anchor and positive to the negative.
    if swap:
        to_negative = jnp.minimum(to_negative, pairwise_distance(positive, negative))
    return jax.nn.relu(pairwise_distance(anchor, positive) - to_negative + margin)


def pairwise_distances(embeddings: jax.Array, squared: bool = True) -> jax.Array:
    """Distances of all pairs of a batch; equal embeddings have no gradient.

    Args:
      embeddings: [N, D].
      squared: squared distances; otherwise plain ones.

    Returns:
      [N, N], with 0 on the diagonal.
    """
    check_shapes(embeddings=(embeddings, "N D"))
    (embeddings,) = to_same_origin(embeddings)
    distances = squared_distances(embeddings, embeddings)  # [N, N]
    return distances if squared else safe_sqrt(distances)


def triplet_kinds(distances: jax.Array, labels: jax.Array, margin: float | jax.Array = 0.2) -> TripletKinds:
    """Sort the N^3 triples of a batch into easy, semi-hard and hard triplets.

    Args:
      distances: [N, N], from `pairwise_distances`.
      labels: [N] int, classes.
      margin: m, by how much the negative should be farther than the positive.

    Returns:
      Three boolean arrays [N, N, N] over (anchor, positive, negative).
    """
    distances, labels = to_acc_dtype(distances), jnp.asarray(labels)
    check_shapes(distances=(distances, "N N"), labels=(labels, "int N"), margin=(margin, ">= 0"))
    same = labels[:, None] == labels[None]  # [N, N]
    # [anchor, positive, negative]: the positive of the same class, the negative of another.
    valid = (same & ~jnp.eye(len(labels), dtype=bool))[:, :, None] & ~same[:, None, :]  # [N, N, N]
    gap = distances[:, None, :] - distances[:, :, None]  # [N, N, N]
    return TripletKinds(valid & (gap >= margin), valid & (gap > 0) & (gap < margin), valid & (gap <= 0))


def sample_semi_hard_negatives(
    rng: jax.Array, distances: jax.Array, labels: jax.Array, margin: float | jax.Array = 0.2
) -> tuple[jax.Array, jax.Array]:
    """Draw a random semi-hard negative for every pair of anchor and positive, as FaceNet does.

    Draw anew as the embeddings move.

    Args:
      rng: key.
      distances: [N, N], from `pairwise_distances`.
      labels: [N] int, classes.
      margin: m, by how much the negative should be farther than the positive.

    Returns:
      (index [N, N] int of the negative, exists [N, N] bool, False where the pair has no semi-hard negative).
    """
    candidates = triplet_kinds(distances, labels, margin).semi_hard  # [N, N, N]
    # A uniform choice among the candidates.
    priority = jnp.where(candidates, jax.random.uniform(rng, candidates.shape), -1)
    return priority.argmax(-1), candidates.any(-1)


def mined_triplet_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    margin: float | jax.Array = 0.2,
    kind: Literal["all", "semi_hard", "hard"] = "semi_hard",
    squared: bool = True,
) -> jax.Array:
    """Mean triplet loss over a batch's triplets of one kind.

    Args:
      embeddings: [N, D].
      labels: [N] int, classes.
      margin: m, by how much the negative should be farther than the positive.
      kind: "hard" (the negative is no farther), "semi_hard" (farther by less than the margin), or "all" of both.
      squared: compare squared distances, as FaceNet; otherwise plain ones.

    Returns:
      Scalar; 0 where the batch has no such triplet.
    """
    check_choice("kind", kind, ("all", "semi_hard", "hard"))
    if len(embeddings) < 3:
        raise ValueError(f"batch_size={len(embeddings)}: no triplet; allowed: at least 3")
    distances = pairwise_distances(embeddings, squared)  # [N, N]
    # Mining takes no gradient; easy triplets have a loss of 0.
    kinds = triplet_kinds(jax.lax.stop_gradient(distances), labels, margin)
    selected = kinds.semi_hard | kinds.hard if kind == "all" else getattr(kinds, kind)
    return masked_mean(distances[:, :, None] - distances[:, None, :] + margin, selected)


def contrastive_loss(a: jax.Array, b: jax.Array, same: jax.Array, margin: float | jax.Array = 1.0) -> jax.Array:
    """Contrastive pair loss: similar pairs attract, others repel up to the margin.

    Args:
      a: [..., D], embeddings.
      b: [..., D], the other embedding of each pair.
      same: [...], 1 for a similar pair and 0 for another.
      margin: distance m beyond which dissimilar pairs cost nothing.

    Returns:
      [...], one loss a pair.
    """
    check_shapes(a=(a, "... D"), b=(b, "... D"), same=(same, "..."), margin=(margin, ">= 0"))
    check_values("same", same, (0, 1))
    a, b = to_same_origin(a, b)
    squared = jnp.square(a - b).sum(-1)  # [...]
    return same * squared + (1 - same) * jnp.square(jax.nn.relu(margin - safe_sqrt(squared)))


def cosine_embedding_loss(a: jax.Array, b: jax.Array, y: jax.Array, margin: float | jax.Array = 0.0) -> jax.Array:
    """Cosine embedding loss: similar pairs align, others stay below a cosine.

    Args:
      a: [..., D], embeddings.
      b: [..., D], the other embedding of each pair.
      y: [...], 1 for a similar pair and -1 for another.
      margin: cosine m below which dissimilar pairs cost nothing.

    Returns:
      [...], one loss a pair.
    """
    a, b = to_acc_dtype(a), to_acc_dtype(b)
    check_shapes(a=(a, "... D"), b=(b, "... D"), y=(y, "..."), margin=(margin, "-1 to 1"))
    check_values("y", y, (-1, 1))
    distance = cosine_distance(a, b)  # [...]
    return jnp.where(jnp.asarray(y) > 0, distance, jax.nn.relu(1 - margin - distance))


def hinge_embedding_loss(distance: jax.Array, y: jax.Array, margin: float | jax.Array = 1.0) -> jax.Array:
    """Hinge embedding loss: similar pairs cost their distance, others what they lack of the margin.

    Args:
      distance: [...], one distance a pair.
      y: [...], 1 for a similar pair and -1 for another.
      margin: distance m beyond which dissimilar pairs cost nothing.

    Returns:
      [...], element by element.
    """
    distance = to_acc_dtype(distance)
    check_shapes(distance=(distance, "..."), y=(y, "..."), margin=(margin, ">= 0"))
    check_values("y", y, (-1, 1))
    check_range("distance", distance, 0)
    return jnp.where(jnp.asarray(y) > 0, distance, jax.nn.relu(margin - distance))


def margin_ranking_loss(
    first: jax.Array, second: jax.Array, y: jax.Array, margin: float | jax.Array = 0.0
) -> jax.Array:
    """Margin ranking loss: one of two scores should be the higher.

    Args:
      first: [...], scores.
      second: [...], the score that each is compared with.
      y: [...], 1 where the first should be the higher, -1 where the second should.
      margin: m, by how much.

    Returns:
      [...], element by element.
    """
    first, second = to_acc_dtype(first), to_acc_dtype(second)
    check_shapes(first=(first, "..."), second=(second, "..."), y=(y, "..."), margin=(margin, ">= 0"))
    check_values("y", y, (-1, 1))
    return jax.nn.relu(margin - y * (first - second))
