"""Levels of a pixel as inputs and outputs of an autoregressive network."""

import jax
import jax.numpy as jnp

__all__ = ["encode", "num_outputs", "to_logits"]


def encode(x: jax.Array, levels: int) -> jax.Array:
    """Turn levels to inputs of a network.

    Args:
      x: [...] in [0, levels).
      levels: at least 2.

    Returns:
      [...] float32 in [-1, 1].
    """
    return 2 * x.astype(jnp.float32) / (levels - 1) - 1


def num_outputs(levels: int) -> int:
    """Count the numbers that describe a distribution over levels: one logit for two, else a softmax's.

    Args:
      levels: at least 2.

    Returns:
      1 or `levels`.
    """
    return 1 if levels == 2 else levels


def to_logits(h: jax.Array, levels: int) -> jax.Array:
    """Turn outputs of a network to logits of all levels: sigmoid(h) = softmax(0, h).

    Args:
      h: [..., num_outputs(levels)].
      levels: at least 2.

    Returns:
      [..., levels] float32.
    """
    h = h.astype(jnp.float32)
    return jnp.concatenate([jnp.zeros_like(h), h], -1) if levels == 2 else h
