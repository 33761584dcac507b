"""Consistency: an unlabelled example is to be answered alike however it is shown.

Xie, Dai, Hovy, Luong & Le 2019, "Unsupervised data augmentation for consistency training", arXiv:1904.12848.

    q = softmax(t / tau)            what the network says of the plain view: no gradient, sharpened by tau < 1
    L = 1[max_c softmax(t)_c >= beta] KL(q || softmax(s))           s: its scores of the heavily augmented view

Examples that the network is not sure of (below beta) count 0, and divide the mean all the same.
"""

import jax
import jax.numpy as jnp

from dlcore.losses._precision import at_least_float32
from dlcore.losses.divergence import kl_divergence_loss

__all__ = ["consistency_loss"]


def consistency_loss(
    logits: jax.Array,
    target_logits: jax.Array,
    temperature: float | jax.Array = 0.4,
    threshold: float | jax.Array = 0.8,
) -> jax.Array:
    """The scalar loss of one example: scores [C] of its augmented view against scores [C] of its plain one.

    temperature: tau above 0; 1 leaves the target as it is. threshold: beta in [0, 1]; 0 counts every example.

    Raises: ValueError for numbers outside those ranges.
    """
    if isinstance(temperature, int | float) and not temperature > 0:
        raise ValueError(f"temperature is {temperature}; it must be positive")
    if isinstance(threshold, int | float) and not 0 <= threshold <= 1:
        raise ValueError(f"threshold is {threshold}; it must be in [0, 1]")
    plain = jax.lax.stop_gradient(at_least_float32(target_logits))
    sure = jax.nn.softmax(plain).max() >= threshold
    return jnp.where(sure, kl_divergence_loss(logits, jax.nn.softmax(plain / temperature)), 0)
