"""Losses for long tails: classes with few examples weigh more, or are kept at a wider margin.

    class-balanced weights:  w_c ~ (1 - beta) / (1 - beta^n_c),  sum w = C      Cui et al. 2019, arXiv:1901.05555
    LDAM:                    margin_c ~ n_c^{-1/4};                             Cao et al. 2019, arXiv:1906.07413
                             L = cross-entropy of scale (s - margin_y onehot(y))

n_c is how many examples class c has in the training split. beta = 0 weighs all classes alike, beta -> 1 by 1 / n_c.
"""

import jax
import jax.numpy as jnp

from dlcore.losses._precision import at_least_float32
from dlcore.losses.classification import softmax_cross_entropy_loss

__all__ = ["class_balanced_weights", "ldam_loss", "ldam_margins"]


def class_balanced_weights(counts: jax.Array, beta: float | jax.Array = 0.999) -> jax.Array:
    """Weights [C] that sum to C, from `counts: [C]`; a class without examples gets 0. beta: in [0, 1).

    For `class_weights` of the softmax cross-entropy, or to draw examples by.
    """
    counts = at_least_float32(counts)
    effective = -jnp.expm1(counts * jnp.log1p(-jnp.asarray(1 - beta, counts.dtype)))
    weights = jnp.where(counts > 0, 1 / jnp.where(counts > 0, effective, 1), 0)
    return weights * len(weights) / jnp.maximum(weights.sum(), jnp.finfo(weights.dtype).tiny)


def ldam_margins(counts: jax.Array, max_margin: float | jax.Array = 0.5) -> jax.Array:
    """Margins [C] from `counts: [C]`; the rarest class gets max_margin."""
    margins = jnp.maximum(at_least_float32(counts), 1) ** -0.25
    return margins * max_margin / margins.max()


def ldam_loss(logits: jax.Array, label: jax.Array, margins: jax.Array, scale: float | jax.Array = 30.0) -> jax.Array:
    """The scalar loss of `logits: [C]` for the class `label: [] int` and the classes' `margins: [C]`.

    scale: 30 is for logits that are cosines, as in the paper; 1 for others.
    """
    logits = at_least_float32(logits)
    return softmax_cross_entropy_loss(scale * logits.at[label].add(-margins[label]), label)
