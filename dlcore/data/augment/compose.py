"""Augmentations in a row. An augmentation is a function `(key, image [H, W, C] float) -> image`, run inside jit."""

from collections.abc import Callable
from typing import Any

import jax

__all__ = ["Augmentation", "compose", "identity"]

Augmentation = Callable[[Any, jax.Array], jax.Array]


def identity(key: jax.Array | None, image: jax.Array) -> jax.Array:
    """The image as it is."""
    del key
    return image


def compose(*augmentations: Augmentation) -> Augmentation:
    """Apply one after another, the i-th with `fold_in(key, i)`; none at all is the identity.

    With `key=None` (evaluation) the parts get None, which only the ones without randomness accept.

    Raises: TypeError for a part that is not callable (a factory's result is, `random_flip()`).
    """
    for part in augmentations:
        if not callable(part):
            raise TypeError(f"compose takes functions (key, image) -> image, got {part!r}")

    def apply(key: jax.Array | None, image: jax.Array) -> jax.Array:
        for i, part in enumerate(augmentations):
            image = part(None if key is None else jax.random.fold_in(key, i), image)
        return image

    return apply
