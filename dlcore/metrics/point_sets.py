"""How far apart two sets of points are: Chamfer distance, and F1 at a distance.

Fan, Su & Guibas 2017, arXiv:1612.00603; Tatarchenko et al. 2019, arXiv:1905.03678 (F-score, robust to outliers).

    d(p, Q) = min over q in Q of |p - q|
    Chamfer = sum_p d(p, Q)^2 + sum_q d(q, P)^2                 or the two means, added
    precision@t = share of P with d(p, Q) <= t,  recall@t = share of Q with d(q, P) <= t,  F1 = 2 PR / (P + R)
"""

import jax
import jax.numpy as jnp

__all__ = ["chamfer_distance", "nearest_squared_distances", "point_f1"]


def nearest_squared_distances(
    p: jax.Array, q: jax.Array, p_mask: jax.Array | None = None, q_mask: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """(d(p, Q)^2 [N], d(q, P)^2 [M]) of points p: [N, D] and q: [M, D]; masks [N], [M] leave points out.

    A point that is left out, or has none to go to, has distance 0 or infinity. Differences are taken before they are
    squared: equal points have distance 0 exactly. Raises: ValueError for other shapes.
    """
    if p.ndim != 2 or q.ndim != 2 or p.shape[1] != q.shape[1]:
        raise ValueError(f"p has shape {p.shape} and q {q.shape}; they must be [N, D] and [M, D]")
    for name, mask, points in (("p_mask", p_mask, p), ("q_mask", q_mask, q)):
        if mask is not None and mask.shape != points.shape[:1]:
            raise ValueError(f"{name} has shape {mask.shape}; it must be {points.shape[:1]}")
    wide = jnp.result_type(jnp.float32, p, q)
    squared = jnp.square(p.astype(wide)[:, None] - q.astype(wide)[None]).sum(-1)

    def nearest(squared, own, other):
        squared = squared if other is None else jnp.where(other[None] > 0, squared, jnp.inf)
        least = squared.min(1, initial=jnp.inf)
        return least if own is None else jnp.where(own > 0, least, 0)

    return nearest(squared, p_mask, q_mask), nearest(squared.T, q_mask, p_mask)


def chamfer_distance(
    p: jax.Array,
    q: jax.Array,
    reduction: str = "mean",
    p_mask: jax.Array | None = None,
    q_mask: jax.Array | None = None,
) -> jax.Array:
    """The Chamfer distance of p: [N, D] and q: [M, D], a scalar; vmap over clouds.

    reduction: "mean" adds the means of the two ways, "sum" the sums: {0, 1} and {0, 2} on a line are 1 or 2 apart.
    Infinite where one set is empty and the other not, 0 where both are. Raises: ValueError for another reduction.
    """
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction is {reduction!r}; it must be 'mean' or 'sum'")
    total = 0
    for squared, mask in zip(nearest_squared_distances(p, q, p_mask, q_mask), (p_mask, q_mask), strict=True):
        count = jnp.asarray(len(squared)) if mask is None else (mask > 0).sum()
        total += squared.sum() / jnp.maximum(count, 1).astype(squared.dtype) if reduction == "mean" else squared.sum()
    return total


def point_f1(
    p: jax.Array,
    q: jax.Array,
    threshold: float,
    p_mask: jax.Array | None = None,
    q_mask: jax.Array | None = None,
) -> dict[str, jax.Array]:
    """{precision, recall, f1} of predicted points p: [N, D] for true points q: [M, D]; within means at most threshold.

    A share of nothing is 0. Raises: ValueError for a negative threshold.
    """
    if threshold < 0:
        raise ValueError(f"threshold is {threshold}; it must not be negative")
    shares = []
    for squared, mask in zip(nearest_squared_distances(p, q, p_mask, q_mask), (p_mask, q_mask), strict=True):
        keep = jnp.ones(squared.shape, bool) if mask is None else mask > 0
        near = (jnp.sqrt(squared) <= threshold) & keep
        shares.append(near.sum() / jnp.maximum(keep.sum(), 1).astype(squared.dtype))
    precision, recall = shares
    both = precision + recall
    f1 = jnp.where(both > 0, 2 * precision * recall / jnp.where(both > 0, both, 1), 0)
    return {"precision": precision, "recall": recall, "f1": f1}
