"""Augmentations in a row. An augmentation is a function `(key, image [H, W, C] float) -> image`, run inside jit."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["Augmentation", "Preprocess", "compose", "identity", "on_unit"]

Augmentation = Callable[[Any, jax.Array], jax.Array]
"""`(key, image) -> image`, of one image in training."""
Preprocess = Callable[[jax.Array], jax.Array]
"""A batch of images to the model's input."""


def identity(key: jax.Array | None, image: jax.Array) -> jax.Array:
    """Leave the image as it is.

    Args:
      key: ignored.
      image: [H, W, C].

    Returns:
      `image`.
    """
    del key
    return image


def compose(*augmentations: Augmentation) -> Augmentation:
    """Chain augmentations, the i-th with `fold_in(key, i)`; none at all is the identity.

    With `key=None` (evaluation) the parts get None, which only the ones without randomness accept.

    Args:
      augmentations: functions `(key, image) -> image`, applied in this order.

    Returns:
      One such function.

    Raises:
      TypeError: a part is not callable; pass the result of a factory, `random_flip()`.
    """
    for part in augmentations:
        if not callable(part):
            raise TypeError(f"augmentations: {part!r} is not callable; compose takes functions (key, image) -> image")

    def apply(key: jax.Array | None, image: jax.Array) -> jax.Array:
        for i, part in enumerate(augmentations):
            image = part(None if key is None else jax.random.fold_in(key, i), image)
        return image

    return apply


def on_unit(augmentation: Augmentation, mean: Sequence[float], std: Sequence[float]) -> Augmentation:
    """Apply an augmentation of images in [0, 1] to normalized ones.

    Args:
      augmentation: `(key, image in [0, 1]) -> image`.
      mean: [C], what the images were normalized by.
      std: [C], what the images were normalized by.

    Returns:
      `(key, normalized image) -> normalized image`.
    """
    mean, std = jnp.asarray(mean), jnp.asarray(std)

    def apply(key: jax.Array | None, image: jax.Array) -> jax.Array:
        center, scale = mean.astype(image.dtype), std.astype(image.dtype)
        return (augmentation(key, jnp.clip(image * scale + center, 0, 1)) - center) / scale

    return apply
