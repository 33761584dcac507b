"""Losses of a predicted mask as a whole: overlap in place of pixels, so that a small object is not outvoted.

    TP = sum p q,  FP = sum p (1 - q),  FN = sum (1 - p) q          p = sigmoid(s) or softmax(s), q the true mask
    Dice:     L = 1 - (2 TP + 1) / (2 TP + FP + FN + 1)             Milletari et al. 2016, arXiv:1606.04797
    Tversky:  L = 1 - (TP + 1) / (TP + alpha FP + beta FN + 1)      Salehi et al. 2017, arXiv:1706.05721

The ones are `smooth`: an empty mask that is predicted empty costs nothing. Dice is Tversky with alpha = beta = 1/2 and
half the smoothing. An example has two spatial axes; reshape volumes [..., D, H, W] to [..., D, H W].
"""

import jax
import jax.numpy as jnp

from dlcore.ops.checks import check_class_ids, check_range, check_shapes
from dlcore.ops.precision import to_acc_dtype

__all__ = ["dice_loss", "multiclass_dice_loss", "multiclass_tversky_loss", "tversky_loss"]


def dice_loss(
    logits: jax.Array, targets: jax.Array, smooth: float | jax.Array = 1.0, mask: jax.Array | None = None
) -> jax.Array:
    """Dice loss of binary masks.

    Args:
      logits: [..., H, W], one score per pixel.
      targets: [..., H, W] in [0, 1], the true masks.
      smooth: added to numerator and denominator; above 0 where masks may be empty.
      mask: [..., H, W]; pixels of mask 0 do not count. None counts all.

    Returns:
      [...], one loss a mask, in [0, 1].
    """
    check_shapes(smooth=(smooth, ">= 0"))
    return tversky_loss(logits, targets, 0.5, 0.5, smooth / 2, mask)


def tversky_loss(
    logits: jax.Array,
    targets: jax.Array,
    alpha: float | jax.Array = 0.3,
    beta: float | jax.Array = 0.7,
    smooth: float | jax.Array = 1.0,
    mask: jax.Array | None = None,
) -> jax.Array:
    """Tversky loss of binary masks: the Dice loss with weights for false positives and false negatives.

    Args:
      logits: [..., H, W], one score per pixel.
      targets: [..., H, W] in [0, 1], the true masks.
      alpha: weight of false positives.
      beta: weight of false negatives.
      smooth: added to numerator and denominator; above 0 where masks may be empty.
      mask: [..., H, W]; pixels of mask 0 do not count. None counts all.

    Returns:
      [...], one loss a mask, in [0, 1].
    """
    check_shapes(logits=(logits, "... H W"), targets=(targets, "... H W"), mask=(mask, "mask ... H W or None"))
    check_shapes(smooth=(smooth, ">= 0"), alpha=(alpha, ">= 0"), beta=(beta, ">= 0"))
    if mask is not None:
        logits, targets = (jnp.where(mask > 0, v, 0) for v in (logits, targets))
    check_range("targets", targets, 0, 1)
    return _tversky(jax.nn.sigmoid(to_acc_dtype(logits)), targets, alpha, beta, smooth, mask, (-2, -1))


def multiclass_dice_loss(
    logits: jax.Array, labels: jax.Array, smooth: float | jax.Array = 1.0, mask: jax.Array | None = None
) -> jax.Array:
    """Dice loss averaged over the classes of a label map.

    Args:
      logits: [..., H, W, C], unnormalized scores of each pixel.
      labels: [..., H, W] int, classes in [0, C).
      smooth: added to numerator and denominator; above 0 where a class may be absent.
      mask: [..., H, W]; pixels of mask 0 do not count. None counts all.

    Returns:
      [...], one loss a label map, in [0, 1].
    """
    check_shapes(smooth=(smooth, ">= 0"))
    return multiclass_tversky_loss(logits, labels, 0.5, 0.5, smooth / 2, mask)


def multiclass_tversky_loss(
    logits: jax.Array,
    labels: jax.Array,
    alpha: float | jax.Array = 0.3,
    beta: float | jax.Array = 0.7,
    smooth: float | jax.Array = 1.0,
    mask: jax.Array | None = None,
) -> jax.Array:
    """Tversky loss averaged over the classes of a label map.

    Args:
      logits: [..., H, W, C], unnormalized scores of each pixel.
      labels: [..., H, W] int, classes in [0, C).
      alpha: weight of false positives.
      beta: weight of false negatives.
      smooth: added to numerator and denominator; above 0 where a class may be absent.
      mask: [..., H, W]; pixels of mask 0 do not count. None counts all.

    Returns:
      [...], one loss a label map, in [0, 1].
    """
    check_shapes(logits=(logits, "... H W C"), labels=(labels, "int ... H W"), mask=(mask, "mask ... H W or None"))
    check_shapes(smooth=(smooth, ">= 0"), alpha=(alpha, ">= 0"), beta=(beta, ">= 0"))
    if mask is not None:
        labels, mask = jnp.where(mask > 0, labels, 0), mask[..., None]
        logits = jnp.where(mask > 0, logits, 0)
    check_class_ids("labels", labels, logits.shape[-1])
    p = jax.nn.softmax(to_acc_dtype(logits))  # [..., H, W, C]
    q = jax.nn.one_hot(labels, p.shape[-1], dtype=p.dtype)  # [..., H, W, C]
    return _tversky(p, q, alpha, beta, smooth, mask, (-3, -2)).mean(-1)


def _tversky(p, q, alpha, beta, smooth, mask, axes) -> jax.Array:
    """1 - (TP + smooth) / (TP + alpha FP + beta FN + smooth), with sums over axes."""
    weights = 1.0 if mask is None else (mask > 0).astype(p.dtype)
    # Soft true positives, false positives and false negatives.
    hit, extra, missed = ((weights * part).sum(axes) for part in (p * q, p * (1 - q), (1 - p) * q))
    return 1 - (hit + smooth) / (hit + alpha * extra + beta * missed + smooth)
