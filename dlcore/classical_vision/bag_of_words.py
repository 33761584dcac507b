"""Bag of visual words: an image as the histogram of its small patches.

Csurka et al. 2004, "Visual categorization with bags of keypoints"; Coates, Lee & Ng 2011 (random patches); Lazebnik,
Schmid & Ponce 2006 (a histogram for each part of the image).

    random patches -> cluster -> the K centers are the words of the codebook
    h[k] = number of patches of the image whose nearest word is k,    divided by the number of patches: |h|_1 = 1

The codebook comes from any clustering, such as `dlcore.classic_ml.kmeans.kmeans(key, patches, K).centers`.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from dlcore.choices import check_whole_number
from dlcore.ops.checks import check_finite, check_shapes
from dlcore.ops.im2col import im2col
from dlcore.ops.precision import result_dtype, to_acc_dtype

__all__ = ["encode", "normalize_patches", "random_patches"]


def random_patches(key: jax.Array, images: jax.Array, count: int, size: int) -> jax.Array:
    """Cut normalized patches at random positions of random images.

    Args:
      key: PRNG key of the choice.
      images: [N, H, W, C] float.
      count: number of patches.
      size: side of a patch, in pixels.

    Returns:
      [count, size size C].
    """
    _check(images, size)
    check_whole_number("count", count, 1)
    return _random_patches(key, jnp.asarray(images), count, size)


def normalize_patches(patches: jax.Array, epsilon: float = 1e-2) -> jax.Array:
    """Normalize contrast: subtract each patch's mean and divide by sqrt(variance + epsilon^2).

    Args:
      patches: [..., D], of values around 1.
      epsilon: standard deviation below which a patch counts as flat.

    Returns:
      [..., D].
    """
    check_shapes(epsilon=(epsilon, ">= 0"))
    check_finite("epsilon", epsilon)
    dtype, patches = result_dtype(patches), to_acc_dtype(patches)
    away = patches - patches.mean(-1, keepdims=True)
    return (away / jnp.sqrt(jnp.square(away).mean(-1, keepdims=True) + epsilon**2)).astype(dtype)


def encode(
    images: jax.Array, codebook: Any, size: int, *, stride: int = 1, grid: int = 1, batch_size: int = 256
) -> jax.Array:
    """Encode images as histograms over visual words, each image's sum 1.

    Args:
      images: [N, H, W, C] float.
      codebook: [K, size size C], the words.
      size: side of a patch, in pixels.
      stride: between patches, in pixels.
      grid: parts along each side, each with its own histogram; 1 discards positions.
      batch_size: images at a time.

    Returns:
      [N, grid grid K].
    """
    _check(images, size)
    check_finite("codebook", codebook)
    images, codebook = to_acc_dtype(images), to_acc_dtype(codebook)
    if codebook.ndim != 2 or not len(codebook) or codebook.shape[1] != size * size * images.shape[3]:
        raise ValueError(
            f"codebook.shape={codebook.shape}: does not fit size={size} and images.shape={images.shape}; "
            f"allowed: [K, {size * size * images.shape[3]}]"
        )
    check_whole_number("stride", stride, 1)
    check_whole_number("batch_size", batch_size, 1)
    check_whole_number("grid", grid)
    most = min((side - size) // stride + 1 for side in images.shape[1:3])
    if not 1 <= grid <= most:
        raise ValueError(f"grid={grid}: out of range; allowed: 1..{most}")
    return _encode(images, codebook, size, stride, grid, min(batch_size, len(images)))


@functools.partial(jax.jit, static_argnums=(2, 3))
def _random_patches(key, images, count, size):
    n, height, width, channels = images.shape
    keys = jax.random.split(key, 3)
    image_idx, top, left = (
        jax.random.randint(k, (count,), 0, high)
        for k, high in zip(keys, (n, height - size + 1, width - size + 1), strict=True)
    )

    def cut(i, r, c):
        return jax.lax.dynamic_slice(images, (i, r, c, 0), (1, size, size, channels)).reshape(-1)

    return normalize_patches(jax.vmap(cut)(image_idx, top, left))


@functools.partial(jax.jit, static_argnums=(2, 3, 4, 5))
def _encode(images, codebook, size, stride, grid, batch_size):
    words = len(codebook)
    half_norms = jnp.square(codebook).sum(1) / 2

    def one(image):
        patches = normalize_patches(im2col(image[None], size, stride)[0])
        rows, columns, _ = patches.shape
        # The nearest word has the largest x·c - |c|² / 2.
        near = jnp.matmul(patches, codebook.T, precision=jax.lax.Precision.HIGHEST) - half_norms  # [rows, columns, K]
        # Spatial pyramid: one histogram for each cell of the grid.
        part = (jnp.arange(rows) * grid // rows)[:, None] * grid + jnp.arange(columns) * grid // columns
        histogram = jnp.zeros((grid * grid, words), image.dtype).at[part, near.argmax(-1)].add(1)
        return histogram.reshape(-1) / (rows * columns)

    return jax.lax.map(one, images, batch_size=batch_size)


def _check(images, size):
    if images.ndim != 4 or not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(
            f"images={images.dtype}{list(images.shape)}: wrong dtype or shape; allowed: floating [N, H, W, C]"
        )
    if 0 in images.shape:
        raise ValueError(f"images.shape={images.shape}: no pixels; allowed: [N, H, W, C], none of them 0")
    check_finite("images", images)
    check_whole_number("size", size)
    if not 1 <= size <= min(images.shape[1:3]):
        raise ValueError(
            f"size={size}: does not fit images.shape={images.shape}; allowed: 1 to {min(images.shape[1:3])}"
        )
