"""Pixel values: uint8 to [0, 1], and standardization by the training split's own statistics, (x - mean) / std."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.augment.compose import Augmentation
from dlcore.data.source import Source

__all__ = ["channel_statistics", "normalize", "to_float"]

_CHUNK = 1024


def to_float(image: Any) -> jax.Array:
    """Uint8 in [0, 255] -> float32 in [0, 1], any shape; floating images pass unchanged.

    Raises: TypeError for another dtype.
    """
    image = jnp.asarray(image)
    if jnp.issubdtype(image.dtype, jnp.floating):
        return image
    if image.dtype != jnp.uint8:
        raise TypeError(f"image is {image.dtype}; uint8 and floating dtypes are allowed")
    return image.astype(jnp.float32) / 255


def normalize(mean: float | Sequence[float] | np.ndarray, std: float | Sequence[float] | np.ndarray) -> Augmentation:
    """(image - mean) / std, by channel or with one number for all; ignores its key.

    Raises: ValueError for a std that is not positive and finite, or statistics that are not scalars or [C].
    """
    mean, std = np.asarray(mean, np.float32), np.asarray(std, np.float32)
    if mean.ndim > 1 or std.ndim > 1:
        raise ValueError(f"mean and std must be scalars or [C], got shapes {mean.shape} and {std.shape}")
    if not np.isfinite(mean).all():
        raise ValueError(f"mean is {mean}; it must be finite")
    if not (np.isfinite(std) & (std > 0)).all():
        raise ValueError(f"std is {std}; it must be positive and finite")

    def apply(key: jax.Array | None, image: jax.Array) -> jax.Array:
        del key
        return (image - mean.astype(image.dtype)) / std.astype(image.dtype)

    return apply


def channel_statistics(source: Source) -> tuple[np.ndarray, np.ndarray]:
    """(mean [C], std [C]) in float32 of the `image`s of `source`, on the [0, 1] scale: give it the training split.

    The std is the population's (divided by the count). A channel that is constant gets std 1, so that `normalize`
    maps it to 0.

    Raises: ValueError for a source without images.
    """
    image = source.arrays.get("image")
    if image is None or not len(source):
        raise ValueError(f"source {source.name!r} has no images to measure")
    unit = 255.0 if image.dtype == np.uint8 else 1.0
    chunks = [image[start : start + _CHUNK] for start in range(0, len(image), _CHUNK)]
    count = image[..., 0].size
    mean = sum(_by_channel(chunk).sum(0) for chunk in chunks) / count
    variance = sum(((_by_channel(chunk) - mean) ** 2).sum(0) for chunk in chunks) / count
    std = np.sqrt(variance) / unit
    constant = std < 1e-6
    return (mean / unit).astype(np.float32), np.where(constant, 1.0, std).astype(np.float32)


def _by_channel(chunk: np.ndarray) -> np.ndarray:
    return chunk.reshape(-1, chunk.shape[-1]).astype(np.float64)
