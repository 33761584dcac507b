"""Distances of two point sets: Chamfer distance, and F1 at a distance.

Fan, Su & Guibas 2017, arXiv:1612.00603; Tatarchenko et al. 2019, arXiv:1905.03678 (F-score, robust to outliers).

    d(p, Q) = min over q in Q of |p - q|
    Chamfer = sum_p d(p, Q)^2 + sum_q d(q, P)^2                 or the two means, added
    precision@t = share of P with d(p, Q) <= t,  recall@t = share of Q with d(q, P) <= t,  F1 = 2 PR / (P + R)

All take one pair of sets; vmap over a batch.
"""

import jax
import jax.numpy as jnp

from dlcore.choices import check_choice
from dlcore.ops.point_sets import check_points
from dlcore.ops.precision import to_same_origin

__all__ = ["chamfer_distance", "nearest_squared_distances", "point_f1"]


def nearest_squared_distances(
    p: jax.Array, q: jax.Array, p_mask: jax.Array | None = None, q_mask: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """Squared distance of every point to the nearest of the other set.

    Differences are taken before they are squared: equal points have distance 0 exactly.

    Args:
      p: [N, D], points.
      q: [M, D], points.
      p_mask: [N]; points of p of mask 0 do not count. None counts all.
      q_mask: [M]; points of q of mask 0 do not count. None counts all.

    Returns:
      (d(p, Q)^2 [N], d(q, P)^2 [M]); 0 for a masked point, infinite where the other set is empty.
    """
    if p.ndim != 2 or q.ndim != 2 or p.shape[1] != q.shape[1]:
        raise ValueError(f"p={p.shape}, q={q.shape}: wrong shapes; allowed: [N, D] and [M, D]")
    for name, mask, points in (("p_mask", p_mask, p), ("q_mask", q_mask, q)):
        if mask is not None and mask.shape != points.shape[:1]:
            raise ValueError(f"{name}={mask.shape}: wrong shape; allowed: {points.shape[:1]}")
    check_points("p", p, p_mask)
    check_points("q", q, q_mask)
    p, q = to_same_origin(p, q)
    p, q = (v if m is None else jnp.where(m[:, None] > 0, v, 0) for v, m in ((p, p_mask), (q, q_mask)))
    squared = jnp.square(p[:, None] - q[None]).sum(-1)  # [N, M]

    def nearest(squared, own_mask, other):
        squared = squared if other is None else jnp.where(other[None] > 0, squared, jnp.inf)
        least = squared.min(1, initial=jnp.inf)
        return least if own_mask is None else jnp.where(own_mask > 0, least, 0)

    return nearest(squared, p_mask, q_mask), nearest(squared.T, q_mask, p_mask)


def chamfer_distance(
    p: jax.Array,
    q: jax.Array,
    reduction: str = "mean",
    p_mask: jax.Array | None = None,
    q_mask: jax.Array | None = None,
) -> jax.Array:
    """Chamfer distance of two point sets.

    Args:
      p: [N, D], points.
      q: [M, D], points.
      reduction: "mean" adds the means of the two ways, "sum" the sums: {0, 1} and {0, 2} on a line are 1 or 2 apart.
      p_mask: [N]; points of p of mask 0 do not count. None counts all.
      q_mask: [M]; points of q of mask 0 do not count. None counts all.

    Returns:
      Scalar; infinite where one set is empty and the other not, 0 where both are.
    """
    check_choice("reduction", reduction, ("mean", "sum"))
    total = 0
    for squared, mask in zip(nearest_squared_distances(p, q, p_mask, q_mask), (p_mask, q_mask), strict=True):
        count = jnp.asarray(len(squared)) if mask is None else (mask > 0).sum()
        total += squared.sum() / jnp.maximum(count, 1).astype(squared.dtype) if reduction == "mean" else squared.sum()
    return jnp.asarray(total)


def point_f1(
    p: jax.Array, q: jax.Array, threshold: float, p_mask: jax.Array | None = None, q_mask: jax.Array | None = None
) -> dict[str, jax.Array]:
    """Precision, recall and F1 of predicted points for true ones.

    Args:
      p: [N, D], predicted points.
      q: [M, D], true points.
      threshold: distance up to which a point is correct, at least 0.
      p_mask: [N]; points of p of mask 0 do not count. None counts all.
      q_mask: [M]; points of q of mask 0 do not count. None counts all.

    Returns:
      {precision, recall, f1}, scalars; a share of nothing is 0.
    """
    if not threshold >= 0:
        raise ValueError(f"threshold={threshold}: negative; allowed: 0 or more")
    fractions = []
    for squared, mask in zip(nearest_squared_distances(p, q, p_mask, q_mask), (p_mask, q_mask), strict=True):
        valid = jnp.ones(squared.shape, bool) if mask is None else mask > 0
        near = (jnp.sqrt(squared) <= threshold) & valid
        fractions.append(near.sum() / jnp.maximum(valid.sum(), 1).astype(squared.dtype))
    # Predicted points near a true one, and true points near a predicted one.
    precision, recall = fractions
    both = precision + recall
    f1 = jnp.where(both > 0, 2 * precision * recall / jnp.where(both > 0, both, 1), 0)
    return {"precision": precision, "recall": recall, "f1": f1}
