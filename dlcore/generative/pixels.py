"""Pixels between [0, 1], as data sets have them, and [-1, 1], as generators do; and sides that are halved."""

import jax
import jax.numpy as jnp

from dlcore.data.augment import to_float

__all__ = ["denormalize", "halve_sides", "normalize"]


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


def halve_sides(shape: tuple[int, ...], halvings: int, why: str = "") -> tuple[int, int]:
    """Halve the sides of an image several times.

    Args:
      shape: (H, W, C).
      halvings: how often.
      why: what asks for it, for the error.

    Returns:
      (H, W) / 2^halvings.

    Raises:
      ValueError: a side is no multiple of 2^halvings.
    """
    height, width, _ = shape
    factor = 2**halvings
    if height % factor or width % factor:
        raise ValueError(
            f"shape={tuple(shape)}: sides cannot be halved {halvings} times{why}; allowed: multiples of {factor}"
        )
    return height // factor, width // factor
