"""Losses of one example's class scores.

    softmax cross-entropy:  L = -sum_c q_c log softmax(s)_c,   q = (1 - eps) onehot(y) + eps / C

Bridle 1990; label smoothing eps is Szegedy et al. 2016 (arXiv:1512.00567).
"""

import jax
import optax

__all__ = ["softmax_cross_entropy_loss"]


def softmax_cross_entropy_loss(
    logits: jax.Array, label: jax.Array, label_smoothing: float | jax.Array = 0.0
) -> jax.Array:
    """The scalar loss of `logits: [C]` for the class `label: [] int` in [0, C); smoothing in [0, 1]."""
    target = optax.smooth_labels(jax.nn.one_hot(label, logits.shape[-1], dtype=logits.dtype), label_smoothing)
    return optax.safe_softmax_cross_entropy(logits, target)
