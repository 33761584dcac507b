"""Losses of a predicted mask as a whole: overlap in place of pixels, so that a small object is not outvoted.

    TP = sum p q,  FP = sum p (1 - q),  FN = sum (1 - p) q          p = sigmoid(s) or softmax(s), q the true mask
    Dice:     L = 1 - (2 TP + 1) / (2 TP + FP + FN + 1)             Milletari et al. 2016, arXiv:1606.04797
    Tversky:  L = 1 - (TP + 1) / (TP + alpha FP + beta FN + 1)      Salehi et al. 2017, arXiv:1706.05721

The ones are `smooth`: an empty mask that is predicted empty costs nothing. Dice is Tversky with alpha = beta = 1/2 and
half the smoothing.
"""

import jax
import jax.numpy as jnp

from dlcore.losses._precision import at_least_float32

__all__ = ["dice_loss", "multiclass_dice_loss", "tversky_loss"]


def dice_loss(
    logits: jax.Array, target: jax.Array, smooth: float | jax.Array = 1.0, mask: jax.Array | None = None
) -> jax.Array:
    """The scalar loss of `logits: [...]` for the true mask `target: [...]` in [0, 1].

    smooth: > 0 where masks may be empty. mask: [...]; where it is 0 a pixel does not count.
    """
    return _tversky(jax.nn.sigmoid(at_least_float32(logits)), target, 0.5, 0.5, smooth / 2, mask)


def tversky_loss(
    logits: jax.Array,
    target: jax.Array,
    alpha: float | jax.Array = 0.3,
    beta: float | jax.Array = 0.7,
    smooth: float | jax.Array = 1.0,
    mask: jax.Array | None = None,
) -> jax.Array:
    """As the Dice loss, with a weight alpha for what is wrongly marked and beta for what is missed."""
    return _tversky(jax.nn.sigmoid(at_least_float32(logits)), target, alpha, beta, smooth, mask)


def multiclass_dice_loss(
    logits: jax.Array, label: jax.Array, smooth: float | jax.Array = 1.0, mask: jax.Array | None = None
) -> jax.Array:
    """The mean over classes of the Dice loss of `softmax(logits): [..., C]` for `label: [...] int` in [0, C)."""
    p = jnp.moveaxis(jax.nn.softmax(at_least_float32(logits)), -1, 0)
    q = jax.nn.one_hot(label, len(p), axis=0, dtype=p.dtype)
    return jax.vmap(lambda p, q: _tversky(p, q, 0.5, 0.5, smooth / 2, mask))(p, q).mean()


def _tversky(p, q, alpha, beta, smooth, mask) -> jax.Array:
    """1 - (TP + smooth) / (TP + alpha FP + beta FN + smooth)."""
    keep = 1.0 if mask is None else (mask > 0).astype(p.dtype)
    hit, extra, missed = ((keep * part).sum() for part in (p * q, p * (1 - q), (1 - p) * q))
    return 1 - (hit + smooth) / (hit + alpha * extra + beta * missed + smooth)
