"""Chain augmentations. An augmentation is a function `(key, image [H, W, C] float) -> image`, run inside jit."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from dlcore.ops.checks import check_finite, check_shapes

__all__ = ["Augmentation", "Preprocess", "check_channels", "compose", "identity", "on_unit"]

Augmentation = Callable[[Any, jax.Array], jax.Array]
"""`(key, image [H, W, C]) -> image`, applied to one training image."""
Preprocess = Callable[[jax.Array], jax.Array]
"""`images [B, H, W, C] -> model input [B, H, W, C]`, applied in training and evaluation."""


def identity(key: jax.Array | None, image: jax.Array) -> jax.Array:
    """Return the image unchanged.

    Args:
      key: ignored.
      image: [H, W, C].

    Returns:
      `image`.
    """
    del key
    return image


def compose(*augmentations: Augmentation) -> Augmentation:
    """Chain augmentations; the i-th gets the key `fold_in(key, i)`.

    With `key=None` (evaluation) every augmentation gets None, which only deterministic ones accept. Without
    augmentations the result returns the image unchanged.

    Args:
      augmentations: functions `(key, image) -> image`, applied in this order.

    Returns:
      `(key, image) -> image`.

    Raises:
      TypeError: an augmentation is not callable; call its factory first, as in `random_flip()`.
    """
    for part in augmentations:
        if not callable(part):
            raise TypeError(f"augmentations: {part!r} is not callable; compose takes functions (key, image) -> image")

    def apply(key: jax.Array | None, image: jax.Array) -> jax.Array:
        for i, part in enumerate(augmentations):
            image = part(None if key is None else jax.random.fold_in(key, i), image)
        return image

    return apply


def check_channels(image: Any, *statistics: Any) -> None:
    """Check that an image has the channels that its statistics are of, which would broadcast otherwise.

    Args:
      image: [..., C].
      *statistics: [] or [C] each.
    """
    for values in statistics:
        if values.ndim and values.shape[0] not in (1, image.shape[-1]):
            allowed = f"{len(values)} channels, as of mean and std"
            raise ValueError(f"image.shape={tuple(image.shape)}: other channels; allowed: {allowed}")


def on_unit(augmentation: Augmentation, mean: Sequence[float], std: Sequence[float]) -> Augmentation:
    """Wrap an augmentation for images in [0, 1], so that it takes and returns normalized images.

    Args:
      augmentation: `(key, image in [0, 1]) -> image`.
      mean: [C], the mean that the images were normalized by.
      std: [C], the standard deviation that the images were normalized by.

    Returns:
      `(key, normalized image) -> normalized image`.

    Raises:
      TypeError: `augmentation` is not callable; call its factory first.
    """
    check_finite("mean", mean)
    check_finite("std", std)
    check_shapes(mean=(mean, "... finite"), std=(std, "... > 0"))
    if not callable(augmentation):
        raise TypeError(f"augmentation={augmentation!r}: not callable; allowed: a function (key, image) -> image")
    mean, std = jnp.asarray(mean), jnp.asarray(std)

    def apply(key: jax.Array | None, image: jax.Array) -> jax.Array:
        check_channels(image, mean, std)
        center, scale = mean.astype(image.dtype), std.astype(image.dtype)
        return (augmentation(key, jnp.clip(image * scale + center, 0, 1)) - center) / scale

    return apply
