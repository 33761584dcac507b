"""Histograms of oriented gradients.

Dalal & Triggs 2005, "Histograms of oriented gradients for human detection", CVPR.

    g_r = I[r + 1, c] - I[r - 1, c],  g_c = I[r, c + 1] - I[r, c - 1]        0 at the border
    cell  h[o] = mean over its pixels of |g| where the angle atan2(g_r, g_c) falls into bin o of [0, 180)
    block v = the cells of a window; v / sqrt(|v|^2 + ε^2), cut at 0.2, and divided again (L2-Hys)

Numbers and their order are those of skimage.feature.hog, ε = 1e-5 too: votes are not shared between neighboring bins
and cells, as they are in the paper. Of several channels each pixel takes the one with the largest gradient.
"""

import functools
from typing import Literal

import jax
import jax.numpy as jnp

from dlcore.choices import check_choice, check_whole_number
from dlcore.ops.checks import check_shapes
from dlcore.ops.im2col import im2col, pair_of
from dlcore.ops.precision import result_dtype, to_acc_dtype

__all__ = ["cell_histograms", "hog", "image_gradients"]

_EPSILON = 1e-5
_NORMS = ("L1", "L1-sqrt", "L2", "L2-Hys")


def hog(
    images: jax.Array,
    orientations: int = 9,
    cell: int | tuple[int, int] = 8,
    block: int | tuple[int, int] = 3,
    *,
    norm: Literal["L1", "L1-sqrt", "L2", "L2-Hys"] = "L2-Hys",
    signed: bool = False,
    batch_size: int = 1024,
) -> jax.Array:
    """Compute HOG descriptors; pixels right of and below the last full cell are ignored.

    Args:
      images: [N, H, W, C] in [0, 1], float.
      orientations: bins of the angles.
      cell: side in pixels, or (rows, columns).
      block: side in cells, or (rows, columns).
      norm: norm of a block: L1, L1-sqrt, L2 or L2-Hys.
      signed: bin angles over [0, 360), so that light on dark differs from dark on light; False over [0, 180).
      batch_size: images at a time.

    Returns:
      [N, block rows * block columns * cells of a block * orientations].
    """
    _check(images, orientations)
    check_choice("norm", norm, _NORMS)
    check_whole_number("batch_size", batch_size, 1)
    cell, block = pair_of("cell", cell), pair_of("block", block)
    cells = tuple(size // c for size, c in zip(images.shape[1:3], cell, strict=True))
    if any(have < need for have, need in zip(cells, block, strict=True)):
        raise ValueError(
            f"block={block}: larger than images.shape={images.shape} in cells; allowed: at most {cells} cells of {cell}"
        )
    one = functools.partial(_descriptor, orientations=orientations, cell=cell, block=block, norm=norm, signed=signed)
    descriptors = _in_batches(one, to_acc_dtype(images), min(batch_size, len(images)))
    return descriptors.astype(result_dtype(images))


@jax.jit
def image_gradients(images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Centered differences of the channel with the largest gradient at each pixel; 0 at the border.

    Args:
      images: [N, H, W, C].

    Returns:
      (down [N, H, W], right [N, H, W]).
    """
    check_shapes(images=(images, "N H W C"))
    dtype, images = result_dtype(images), to_acc_dtype(images)
    down = jnp.pad(images[:, 2:] - images[:, :-2], ((0, 0), (1, 1), (0, 0), (0, 0)))
    right = jnp.pad(images[:, :, 2:] - images[:, :, :-2], ((0, 0), (0, 0), (1, 1), (0, 0)))
    best = (down**2 + right**2).argmax(-1, keepdims=True)
    return tuple(jnp.take_along_axis(g, best, -1)[..., 0].astype(dtype) for g in (down, right))


@functools.partial(jax.jit, static_argnames=("orientations", "cell", "signed"))
def cell_histograms(
    images: jax.Array, orientations: int = 9, cell: int | tuple[int, int] = 8, signed: bool = False
) -> jax.Array:
    """Average the gradient magnitude of each angle over each cell.

    Args:
      images: [N, H, W, C] float.
      orientations: bins of the angles.
      cell: side in pixels, or (rows, columns).
      signed: bin angles over [0, 360) rather than [0, 180).

    Returns:
      [N, H / cell, W / cell, orientations].
    """
    _check(images, orientations)
    height, width = pair_of("cell", cell)
    dtype, images = images.dtype, to_acc_dtype(images)
    down, right = image_gradients(images)
    bins = _eighths(down, right) * orientations / (8 if signed else 4)
    bin_of = jnp.floor(bins).astype(jnp.int32) % orientations
    # Each pixel votes for its angle by its gradient's magnitude.
    votes = jnp.hypot(down, right)[..., None] * jax.nn.one_hot(bin_of, orientations, dtype=images.dtype)
    rows, columns = images.shape[1] // height, images.shape[2] // width
    votes = votes[:, : rows * height, : columns * width]  # [N, H, W, orientations], whole cells
    return votes.reshape(len(images), rows, height, columns, width, orientations).mean((2, 4)).astype(dtype)


def _eighths(down, right):
    """The angle in eighths of a turn, [0, 8]: exact at multiples of 45 degrees, which bins share as borders."""
    dy, dx = jnp.abs(down), jnp.abs(right)
    part = jnp.where(dy == dx, 1, jnp.arctan2(jnp.minimum(dy, dx), jnp.maximum(dy, dx)) * (4 / jnp.pi))
    quarter = jnp.where(dy > dx, 2 - part, part)
    half = jnp.where(right < 0, 4 - quarter, quarter)
    return jnp.where(down < 0, 8 - half, half)


def _descriptor(images, orientations, cell, block, norm, signed):
    blocks = im2col(cell_histograms(images, orientations, cell, signed), block)
    return _normalize(blocks, norm).reshape(len(images), -1)


def _normalize(blocks, norm):
    def by_l2(v):
        return v / jnp.sqrt(jnp.square(v).sum(-1, keepdims=True) + _EPSILON**2)

    if norm == "L2":
        return by_l2(blocks)
    if norm == "L2-Hys":
        # Clipping and normalizing again limits single strong gradients (Lowe's "Hys").
        return by_l2(jnp.minimum(by_l2(blocks), 0.2))
    normalized = blocks / (jnp.abs(blocks).sum(-1, keepdims=True) + _EPSILON)
    return jnp.sqrt(normalized) if norm == "L1-sqrt" else normalized


@functools.partial(jax.jit, static_argnums=(0, 2))
def _in_batches(function, images, batch_size):
    return jax.lax.map(lambda image: function(image[None])[0], images, batch_size=batch_size)


def _check(images, orientations):
    if images.ndim != 4 or not jnp.issubdtype(images.dtype, jnp.floating) or 0 in images.shape:
        raise ValueError(
            f"images={images.dtype}{list(images.shape)}: wrong type; allowed: floating [N, H, W, C], none of them 0"
        )
    check_whole_number("orientations", orientations, 1)
