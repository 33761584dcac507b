"""Pixels between [0, 1], as data sets have them, and [-1, 1], as generators do."""

import jax
import jax.numpy as jnp

from dlcore.data.augment import to_float

__all__ = ["denormalize", "normalize"]


def normalize(image: jax.Array) -> jax.Array:
    """Map pixels to [-1, 1].

    Args:
      image: [...], uint8, or float in [0, 1].

    Returns:
      [...] float in [-1, 1].
    """
    return 2 * to_float(image) - 1


def denormalize(x: jax.Array) -> jax.Array:
    """Map generated pixels to [0, 1].

    Args:
      x: [...], about [-1, 1].

    Returns:
      [...], clipped to [0, 1].
    """
    return jnp.clip((x + 1) / 2, 0, 1)
