"""Pixels between [0, 1], as data sets have them, and [-1, 1], as generators do; and sides that are halved."""

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.augment import to_float
from dlcore.ops.checks import check_shapes

__all__ = ["check_shape", "denormalize", "halve_sides", "normalize"]


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


def check_shape(shape: tuple[int, ...], axes: int | None = None) -> None:
    """Check the shape of an example.

    Args:
      shape: sizes of its axes.
      axes: how many there are; None for any number.
    """
    if np.ndim(shape) != 1 or axes not in (None, len(shape)):
        allowed = "sizes of axes" if axes is None else f"sizes of {axes} axes"
        raise ValueError(f"shape={shape}: no shape of an example; allowed: {allowed}")
    for size in shape:
        check_shapes(shape=(size, "int >= 1"))


def halve_sides(shape: tuple[int, ...], halvings: int, why: str = "") -> tuple[int, int]:
    """Halve the sides of an image several times.

    Args:
      shape: (H, W, C).
      halvings: how often.
      why: what asks for it, for the error.

    Returns:
      (H, W) / 2^halvings.
    """
    check_shape(shape, 3)
    check_shapes(halvings=(halvings, "int >= 0"))
    height, width, _ = shape
    factor = 2**halvings
    if height % factor or width % factor:
        raise ValueError(
            f"shape={tuple(shape)}: sides cannot be halved {halvings} times{why}; allowed: multiples of {factor}"
        )
    return height // factor, width // factor
