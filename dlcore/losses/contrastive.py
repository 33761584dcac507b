"""Losses that pull two views of one image together and push other images away.

    InfoNCE     -log e^{q k+ / tau} / (e^{q k+ / tau} + sum_j e^{q k_j / tau})
    NT-Xent     the same over cosines of 2N views, for each view with the other view of its image as k+ and the 2N - 2
                views of other images as k_j: sum over k != i in the denominator
    DCL         NT-Xent without k+ in the denominator: its push does not fade where the positive is found, as it does in
                small batches. It may be negative.
    CLIP        InfoNCE over cosines of N pairs, from each side: the other N - 1 of the batch are the negatives
    alignment   |a - b|^2            uniformity   log mean over pairs e^{-t |x - y|^2}

van den Oord et al. 2018, arXiv:1807.03748; Chen et al. 2020, arXiv:2002.05709; Wang & Isola 2020, arXiv:2005.10242;
Yeh et al. 2021, arXiv:2110.06848 (DCL); Radford et al. 2021, arXiv:2103.00020 (CLIP).
"""

import jax
import jax.numpy as jnp
import optax

from dlcore.losses._precision import at_least_float32

__all__ = [
    "alignment_loss",
    "clip_loss",
    "decoupled_contrastive_loss",
    "info_nce_loss",
    "nt_xent_loss",
    "nt_xent_scores",
    "uniformity_loss",
]


def info_nce_loss(
    query: jax.Array, positive: jax.Array, negatives: jax.Array, temperature: float | jax.Array = 0.07
) -> jax.Array:
    """The scalar loss of query [D], positive [D] and negatives [K, D], by dot products: give unit vectors for cosines.

    With K + 1 equal scores it is log(K + 1).
    """
    query, positive, negatives = (at_least_float32(z) for z in (query, positive, negatives))
    scores = jnp.concatenate([(query @ positive)[None], negatives @ query]) / temperature
    return optax.softmax_cross_entropy_with_integer_labels(scores, 0)


def nt_xent_scores(
    a: jax.Array,
    b: jax.Array,
    temperature: float | jax.Array = 0.5,
    mask: jax.Array | None = None,
    axis: str | None = None,
) -> tuple[jax.Array, jax.Array]:
    """(scores [2N, 2M], positives [2N]): each view's cosines over temperature to all views, its own at -inf.

    a, b: [N, D], two views of N images. mask: [N]; images of mask 0 are no negatives. axis: the mapped axis whose
    replicas' views are negatives too (M = N times its size; N without).
    """
    a, b = _unit(a), _unit(b)
    keep = jnp.ones(len(a), bool) if mask is None else mask > 0
    others, first = (a, b, keep), 0
    if axis is not None:
        others = jax.lax.all_gather(others, axis, tiled=True)
        first = jax.lax.axis_index(axis) * len(a)
    scores = jnp.concatenate([a, b]) @ jnp.concatenate(others[:2]).T / temperature
    own = first + jnp.arange(len(a))
    m = len(others[0])
    own, positives = jnp.concatenate([own, m + own]), jnp.concatenate([m + own, own])
    column = jnp.arange(2 * m)
    is_positive = column == positives[:, None]
    allowed = (jnp.concatenate([others[2]] * 2) | is_positive) & (column != own[:, None])
    return jnp.where(allowed, scores, -jnp.inf), positives


def nt_xent_loss(
    a: jax.Array,
    b: jax.Array,
    temperature: float | jax.Array = 0.5,
    mask: jax.Array | None = None,
    axis: str | None = None,
) -> jax.Array:
    """The mean over the 2N views of `a, b: [N, D]`; the arguments are those of `nt_xent_scores`.

    Where all embeddings are the same it is log(2N - 1).
    """
    losses = optax.softmax_cross_entropy_with_integer_labels(*nt_xent_scores(a, b, temperature, mask, axis))
    return _mean_over_views(losses, mask)


def decoupled_contrastive_loss(
    a: jax.Array,
    b: jax.Array,
    temperature: float | jax.Array = 0.1,
    mask: jax.Array | None = None,
    axis: str | None = None,
) -> jax.Array:
    """The mean over the 2N views of `a, b: [N, D]`; the arguments are those of `nt_xent_scores`.

    A view without negatives has 0 in place of their logarithm.
    """
    scores, positives = nt_xent_scores(a, b, temperature, mask, axis)
    is_positive = jnp.arange(scores.shape[1]) == positives[:, None]
    attraction = jnp.where(is_positive, scores, 0).sum(-1)
    negatives = ~is_positive & jnp.isfinite(scores)
    some = negatives.any(-1)
    repulsion = jax.nn.logsumexp(scores, -1, where=negatives | ~some[:, None] & is_positive)
    return _mean_over_views(jnp.where(some, repulsion, 0) - attraction, mask)


def clip_loss(a: jax.Array, b: jax.Array, temperature: float | jax.Array = 0.07) -> jax.Array:
    """The mean over the N pairs of `a, b: [N, D]` and over the two sides; log N where all are the same."""
    scores = _unit(a) @ _unit(b).T / temperature
    own = jnp.arange(len(scores))
    sides = (optax.softmax_cross_entropy_with_integer_labels(s, own).mean() for s in (scores, scores.T))
    return sum(sides) / 2


def alignment_loss(a: jax.Array, b: jax.Array) -> jax.Array:
    """The squared distance of two views' embeddings [D]: 0 where a view changes nothing."""
    return jnp.square(at_least_float32(a) - at_least_float32(b)).sum(-1)


def uniformity_loss(z: jax.Array, t: float = 2.0, mask: jax.Array | None = None) -> jax.Array:
    """The logarithm of the mean potential over pairs of different examples of z [N, D]: 0 where all are the same.

    mask: [N]. Without a pair it is 0.
    """
    z = at_least_float32(z)
    norm = jnp.square(z).sum(-1)
    squared = jnp.maximum(norm[:, None] + norm[None] - 2 * z @ z.T, 0)
    keep = jnp.ones(len(z), bool) if mask is None else mask > 0
    pairs = keep[:, None] & keep[None] & ~jnp.eye(len(z), dtype=bool)
    total = jnp.where(pairs, jnp.exp(-t * squared), 0).sum()
    count = pairs.sum()
    return jnp.where(count > 0, jnp.log(jnp.where(count > 0, total / jnp.maximum(count, 1), 1)), 0.0)


def _unit(z: jax.Array) -> jax.Array:
    """Rows [N, D] at length 1; a row of zeros stays."""
    z = at_least_float32(z)
    return z * jax.lax.rsqrt(jnp.maximum(jnp.square(z).sum(-1, keepdims=True), 1e-12))


def _mean_over_views(losses: jax.Array, mask: jax.Array | None) -> jax.Array:
    """The mean of losses [2N] over the views of images that are not masked; 0 without one."""
    if mask is None:
        return losses.mean()
    keep = jnp.concatenate([mask, mask]) > 0
    return jnp.where(keep, losses, 0).sum() / jnp.maximum(keep.sum(), 1)
