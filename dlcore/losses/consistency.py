"""Consistency: the network should predict the same for an unlabeled example under any augmentation.

Xie, Dai, Hovy, Luong & Le 2019, "Unsupervised data augmentation for consistency training", arXiv:1904.12848.

    q = softmax(t / tau)            prediction for the plain view: no gradient, sharpened by tau < 1
    L = 1[max_c softmax(t)_c >= beta] KL(q || softmax(s))           s: logits of the heavily augmented view

Examples whose confidence is below beta cost 0, and still divide the mean.
"""

import jax
import jax.numpy as jnp

from dlcore.losses.divergence import kl_divergence_loss
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype

__all__ = ["consistency_loss"]


def consistency_loss(
    logits: jax.Array,
    target_logits: jax.Array,
    temperature: float | jax.Array = 0.4,
    threshold: float | jax.Array = 0.8,
) -> jax.Array:
    """Divergence of the augmented view's prediction from the confident, sharpened one of the plain view.

    Args:
      logits: [..., C], scores of the augmented view.
      target_logits: [..., C], scores of the plain view; they get no gradient.
      temperature: tau > 0 that divides the plain view's scores; 1 leaves its prediction as it is.
      threshold: confidence beta in [0, 1] below which an example costs 0; 0 counts every example.

    Returns:
      [...], one loss an example, in nats.
    """
    check_shapes(logits=(logits, "... C"), target_logits=(target_logits, "... C"), temperature=(temperature, "> 0"))
    check_shapes(threshold=(threshold, "0 to 1"))
    # Target distribution, no gradient; sharpened where the temperature is below 1.
    plain = jax.lax.stop_gradient(to_acc_dtype(target_logits))  # [..., C]
    is_confident = jax.nn.softmax(plain).max(-1) >= threshold  # [...]
    return jnp.where(is_confident, kl_divergence_loss(logits, jax.nn.softmax(plain / temperature)), 0)
