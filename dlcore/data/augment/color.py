"""Convert pixels to floats in [0, 1], measure the mean and std of each channel, and normalize by (x - mean) / std."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.augment.compose import Augmentation, check_channels
from dlcore.data.source import Source, check_source
from dlcore.ops.checks import check_finite
from dlcore.ops.precision import acc_dtype_of, result_dtype

__all__ = ["channel_statistics", "normalize", "to_float"]

_CHUNK = 1024


def to_float(image: Any, dtype: jax.typing.DTypeLike = jnp.float32) -> jax.Array:
    """Convert uint8 pixels to floats in [0, 1]; floating images pass unchanged.

    Args:
      image: any shape, uint8 in [0, 255] or floating.
      dtype: dtype of the result for uint8 pixels.

    Returns:
      The same shape: pixels / 255 in `dtype` where `image` is uint8, else `image` unchanged.

    Raises:
      TypeError: `image` is neither uint8 nor floating.
    """
    image = jnp.asarray(image)
    if jnp.issubdtype(image.dtype, jnp.floating):
        return image
    if image.dtype != jnp.uint8:
        raise TypeError(f"image: dtype {image.dtype} is unknown; allowed: uint8 and floating")
    return image.astype(dtype) / 255


def normalize(mean: float | Sequence[float] | np.ndarray, std: float | Sequence[float] | np.ndarray) -> Augmentation:
    """Build an augmentation that returns (image - mean) / std and ignores its key.

    Args:
      mean: one number for all channels, or [C].
      std: one number for all channels, or [C], positive.

    Returns:
      `(key, image [H, W, C]) -> image`.
    """
    check_finite("mean", mean)
    check_finite("std", std)
    mean, std = np.asarray(mean, np.float32), np.asarray(std, np.float32)
    if mean.ndim > 1 or std.ndim > 1:
        raise ValueError(f"mean and std have shapes {mean.shape} and {std.shape}; allowed: scalars or [C]")
    if not (std > 0).all():
        raise ValueError(f"std={std}: out of range; allowed: positive and finite")

    def apply(key: jax.Array | None, image: jax.Array) -> jax.Array:
        del key
        check_channels(image, mean, std)
        return ((image.astype(acc_dtype_of(image)) - mean) / std).astype(result_dtype(image))

    return apply


def channel_statistics(source: Source) -> tuple[np.ndarray, np.ndarray]:
    """Measure mean and standard deviation of each channel, on the [0, 1] scale.

    The variance divides by the number of pixels n, not n - 1. A constant channel gets std 1, so that `normalize` maps
    it to 0.

    Args:
      source: source with `image: [N, H, W, C]`, uint8 or float; the training split. Where it has `image_size: [N, 2]`,
        only the upper left (height, width) pixels of each image are counted.

    Returns:
      (mean [C], std [C]), float32.
    """
    check_source("source", source)
    image = source.arrays.get("image")
    if image is None or not len(source):
        raise ValueError(f"source={source.name!r}: has no images; allowed: a source with one or more in `image`")
    unit = 255.0 if image.dtype == np.uint8 else 1.0
    sizes = source.arrays.get("image_size")
    chunks = [slice(start, start + _CHUNK) for start in range(0, len(image), _CHUNK)]
    count = image[..., 0].size if sizes is None else np.asarray(sizes, np.int64).prod(-1).sum()

    def pixels(chunk: slice) -> np.ndarray:
        return _by_channel(image[chunk], None if sizes is None else sizes[chunk])

    mean = sum(pixels(chunk).sum(0) for chunk in chunks) / count
    variance = sum(((pixels(chunk) - mean) ** 2).sum(0) for chunk in chunks) / count
    std = np.sqrt(variance) / unit
    constant = std < 1e-6
    return (mean / unit).astype(np.float32), np.where(constant, 1.0, std).astype(np.float32)


def _by_channel(chunk: np.ndarray, sizes: np.ndarray | None) -> np.ndarray:
    """Return the pixels of a chunk without the padding, [pixels, C]."""
    if sizes is not None:
        rows, columns = (np.arange(side) < sizes[:, k, None] for k, side in enumerate(chunk.shape[1:3]))
        return chunk[rows[:, :, None] & columns[:, None]].astype(np.float64)
    return chunk.reshape(-1, chunk.shape[-1]).astype(np.float64)
