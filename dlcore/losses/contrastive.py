"""Losses that pull two views of one image together and push other images away.

    InfoNCE     -log e^{q k+ / tau} / (e^{q k+ / tau} + sum_j e^{q k_j / tau})
    NT-Xent     the same over cosines of 2N views, for each view with the other view of its image as k+ and the 2N - 2
                views of other images as k_j: sum over k != i in the denominator
    DCL         NT-Xent without k+ in the denominator, so that its push does not fade once the positive is close, as
                NT-Xent's does in small batches. It may be negative.
    CLIP        InfoNCE over cosines of N pairs, from each side: the other N - 1 of the batch are the negatives
    SigLIP      -log sigma(z_ij (t cos_ij + b)) for each of N x N pairs, z = 1 for those that belong together, else -1
    alignment   |a - b|^2            uniformity   log mean over pairs e^{-t |x - y|^2}

van den Oord et al. 2018, arXiv:1807.03748; Chen et al. 2020, arXiv:2002.05709; Wang & Isola 2020, arXiv:2005.10242;
Yeh et al. 2021, arXiv:2110.06848 (DCL); Radford et al. 2021, arXiv:2103.00020 (CLIP); Zhai et al. 2023,
arXiv:2303.15343 (SigLIP).

InfoNCE and alignment take batch axes. The others couple the examples of a batch: they take [N, D] and return one
number.
"""

import jax
import jax.numpy as jnp

from dlcore.losses.classification import softmax_cross_entropy_loss
from dlcore.losses.objective import masked_mean
from dlcore.ops.checks import check_shapes, describe_array
from dlcore.ops.l2_normalize import l2_normalize
from dlcore.ops.moments import squared_distances
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.replica import all_gather, replica_index

__all__ = [
    "alignment_loss",
    "clip_loss",
    "decoupled_contrastive_loss",
    "info_nce_loss",
    "nt_xent_loss",
    "nt_xent_scores",
    "siglip_loss",
    "uniformity_loss",
]


def info_nce_loss(
    query: jax.Array, positive: jax.Array, negatives: jax.Array, temperature: float | jax.Array = 0.07
) -> jax.Array:
    """InfoNCE by dot products; give unit vectors for cosines.

    Args:
      query: [..., D], embeddings.
      positive: [..., D], the embedding that belongs to each query.
      negatives: [K, D], shared by all queries (MoCo's queue), or [..., K, D], each query's own; K at least 1.
      temperature: tau > 0 that divides the dot products.

    Returns:
      [...], one loss a query, in nats; log(K + 1) where all scores are equal.
    """
    query, positive, negatives = (to_acc_dtype(z) for z in (query, positive, negatives))
    check_shapes(
        query=(query, "... D"),
        positive=(positive, "... D"),
        negatives=(negatives, "K D" if negatives.ndim == 2 else "... K D"),
        temperature=(temperature, "> 0"),
    )
    if not negatives.shape[-2]:
        raise ValueError(f"negatives={describe_array(negatives)}: none; allowed: at least 1")
    to_positive = jnp.einsum("...d,...d->...", query, positive)[..., None]  # [..., 1]
    to_negatives = jnp.einsum("...kd,...d->...k", negatives, query)  # [..., K]
    # The positive is class 0.
    scores = jnp.concatenate([to_positive, to_negatives], -1) / temperature  # [..., 1 + K]
    return softmax_cross_entropy_loss(scores, jnp.zeros(scores.shape[:-1], jnp.int32))


def nt_xent_scores(
    a: jax.Array, b: jax.Array, temperature: float | jax.Array = 0.5, mask: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """Cosines over temperature of each of 2N views with all views, itself at -inf, and where its positive is.

    Args:
      a: [N, D], embeddings of one view of N images.
      b: [N, D], embeddings of the other view of the same images.
      temperature: tau > 0 that divides the cosines.
      mask: [N]; images of mask 0 are no negatives. None counts all.

    Returns:
      (scores [2N, 2M], positives [2N] int, the column of each row's positive); M is N, times the number of replicas
      under pmap, whose views are negatives too.
    """
    check_shapes(a=(a, "N D"), b=(b, "N D"), temperature=(temperature, "> 0"), mask=(mask, "mask N or None"))
    is_valid, a, b = _kept_units(a, b, mask)
    # Views of all replicas; the positives of this one begin at `first`.
    negatives, first = all_gather((a, b, is_valid)), replica_index() * len(a)
    scores = jnp.concatenate([a, b]) @ jnp.concatenate(negatives[:2]).T / temperature  # [2N, 2M]
    query_idx = first + jnp.arange(len(a))
    m = len(negatives[0])
    _check_negatives(m)
    # Row i of the first view has its positive in the second view, and the other way round.
    query_idx, positives = jnp.concatenate([query_idx, m + query_idx]), jnp.concatenate([m + query_idx, query_idx])
    column = jnp.arange(2 * m)
    is_positive = column == positives[:, None]  # [2N, 2M]
    # A view is not its own negative, and padded images are nobody's.
    allowed = (jnp.concatenate([negatives[2]] * 2) | is_positive) & (column != query_idx[:, None])
    return jnp.where(allowed, scores, -jnp.inf), positives


def nt_xent_loss(
    a: jax.Array, b: jax.Array, temperature: float | jax.Array = 0.5, mask: jax.Array | None = None
) -> jax.Array:
    """NT-Xent (SimCLR), the mean over the 2N views of a batch.

    Args:
      a: [N, D], embeddings of one view of N images.
      b: [N, D], embeddings of the other view of the same images.
      temperature: tau > 0 that divides the cosines.
      mask: [N]; images of mask 0 are neither anchors nor negatives. None counts all.

    Returns:
      Scalar, in nats; log(2N - 1) where all embeddings are the same.
    """
    losses = softmax_cross_entropy_loss(*nt_xent_scores(a, b, temperature, mask))
    return _mean_over_views(losses, mask)


def decoupled_contrastive_loss(
    a: jax.Array, b: jax.Array, temperature: float | jax.Array = 0.1, mask: jax.Array | None = None
) -> jax.Array:
    """Decoupled contrastive loss, the mean over the 2N views of a batch.

    Args:
      a: [N, D], embeddings of one view of N images.
      b: [N, D], embeddings of the other view of the same images.
      temperature: tau > 0 that divides the cosines.
      mask: [N]; images of mask 0 are neither anchors nor negatives. None counts all.

    Returns:
      Scalar, in nats. A view without negatives has 0 in place of their log-sum-exp.
    """
    scores, positives = nt_xent_scores(a, b, temperature, mask)
    is_positive = jnp.arange(scores.shape[1]) == positives[:, None]  # [2N, 2M]
    attraction = jnp.where(is_positive, scores, 0).sum(-1)  # [2N]
    # The positive is left out of the denominator.
    negatives = ~is_positive & jnp.isfinite(scores)  # [2N, 2M]
    has_negatives = negatives.any(-1)  # [2N]
    repulsion = jax.nn.logsumexp(scores, -1, where=negatives | ~has_negatives[:, None] & is_positive)
    return _mean_over_views(jnp.where(has_negatives, repulsion, 0) - attraction, mask)


def clip_loss(
    a: jax.Array, b: jax.Array, temperature: float | jax.Array = 0.07, mask: jax.Array | None = None
) -> jax.Array:
    """CLIP's loss, the mean over the N pairs of a batch and over their two sides.

    Args:
      a: [N, D], embeddings of images.
      b: [N, D], embeddings of their captions.
      temperature: tau > 0 that divides the cosines.
      mask: [N]; pairs of mask 0 neither count nor are negatives. None counts all.

    Returns:
      Scalar, in nats; log N where all embeddings are the same.
    """
    check_shapes(a=(a, "N D"), b=(b, "N D"), temperature=(temperature, "> 0"), mask=(mask, "mask N or None"))
    _check_negatives(len(a))
    is_valid, a, b = _kept_units(a, b, mask)
    scores, query_idx = a @ b.T / temperature, jnp.arange(len(a))  # [N, N], [N]
    # Padded pairs are no negatives.
    allowed = is_valid | (query_idx == query_idx[:, None])  # [N, N]
    # Image to text and text to image.
    image_to_text, text_to_image = (
        masked_mean(softmax_cross_entropy_loss(jnp.where(allowed, s, -jnp.inf), query_idx), is_valid)
        for s in (scores, scores.T)
    )
    return (image_to_text + text_to_image) / 2


def siglip_loss(
    a: jax.Array,
    b: jax.Array,
    temperature: float | jax.Array = 0.1,
    bias: float | jax.Array = -10.0,
    mask: jax.Array | None = None,
) -> jax.Array:
    """SigLIP's loss: whether each of the N x N pairs of a batch belongs together, apart from all others.

    Args:
      a: [N, D], embeddings of images.
      b: [N, D], embeddings of their captions.
      temperature: tau > 0 that divides the cosines, as in `clip_loss`; the paper's t is 1 / tau and starts at 10.
      bias: added to the scaled cosines; it starts at -10, since most pairs do not belong together.
      mask: [N]; pairs of mask 0 do not count, and no other is compared with them. None counts all.

    Returns:
      Scalar, in nats: the sum over captions, averaged over images.
    """
    check_shapes(a=(a, "N D"), b=(b, "N D"), mask=(mask, "mask N or None"), temperature=(temperature, "> 0"))
    check_shapes(bias=(bias, "finite"))
    _check_negatives(len(a))
    is_valid, a, b = _kept_units(a, b, mask)
    # 1 on the diagonal, -1 elsewhere.
    signs = 2 * jnp.eye(len(a), dtype=a.dtype) - 1  # [N, N]
    losses = jax.nn.softplus(-signs * (a @ b.T / temperature + bias))  # [N, N]
    return masked_mean(jnp.where(is_valid, losses, 0).sum(1), is_valid)


def alignment_loss(a: jax.Array, b: jax.Array) -> jax.Array:
    """Squared distance of two views' embeddings: 0 where the augmentation changes nothing.

    Args:
      a: [..., D], embeddings of one view.
      b: [..., D], embeddings of the other view of the same images.

    Returns:
      [...], one loss an image.
    """
    check_shapes(a=(a, "... D"), b=(b, "... D"))
    return jnp.square(to_acc_dtype(a) - to_acc_dtype(b)).sum(-1)


def uniformity_loss(z: jax.Array, t: float = 2.0, mask: jax.Array | None = None) -> jax.Array:
    """Log of the mean Gaussian potential over pairs of different examples of a batch.

    Args:
      z: [N, D], embeddings, commonly of length 1.
      t: how fast the potential e^{-t |x - y|^2} decays.
      mask: [N]; examples of mask 0 do not count. None counts all.

    Returns:
      Scalar, at most 0; 0 where all embeddings are the same, or where no pair counts.
    """
    check_shapes(z=(z, "N D"), t=(t, "> 0"), mask=(mask, "mask N or None"))
    _check_negatives(len(z))
    is_valid = jnp.ones(len(z), bool) if mask is None else mask > 0
    z = jnp.where(is_valid[:, None], to_acc_dtype(z), 0)
    squared = squared_distances(z, z)  # [N, N]
    pairs = is_valid[:, None] & is_valid[None] & ~jnp.eye(len(z), dtype=bool)  # [N, N]
    count = pairs.sum()
    # Log-sum-exp: potentials of far embeddings underflow to 0.
    log_total = jax.nn.logsumexp(-t * squared, where=pairs | (count == 0))
    return jnp.where(count > 0, log_total - jnp.log(jnp.maximum(count, 1)), 0.0)


def _check_negatives(batch_size: int) -> None:
    check_shapes(batch_size=(batch_size, "int >= 2"))


def _kept_units(a: jax.Array, b: jax.Array, mask: jax.Array | None) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Which pairs count [N] bool, and both sides of length 1; what does not count has no say, not even as NaN."""
    is_valid = jnp.ones(len(a), bool) if mask is None else mask > 0
    a, b = (to_acc_dtype(z if mask is None else jnp.where(is_valid[:, None], z, 0)) for z in (a, b))
    return is_valid, l2_normalize(a), l2_normalize(b)


def _mean_over_views(losses: jax.Array, mask: jax.Array | None) -> jax.Array:
    """Return the mean of losses [2N] over the views of images that are not masked; 0 without one."""
    return losses.mean() if mask is None else masked_mean(losses, jnp.concatenate([mask, mask]))
