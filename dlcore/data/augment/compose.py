"""Augmentations in a row. An augmentation is a function `(key, image [H, W, C] float) -> image`, run inside jit."""

from collections.abc import Callable
from typing import Any

import jax

__all__ = ["Augmentation", "compose", "identity"]

Augmentation = Callable[[Any, jax.Array], jax.Array]


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
