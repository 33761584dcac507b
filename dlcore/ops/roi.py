"""Crops of feature maps at boxes, each to the same size: RoIPool, and RoIAlign on one map or on a pyramid.

Girshick, "Fast R-CNN" (2015), arXiv:1504.08083; He, Gkioxari, Dollar & Girshick, "Mask R-CNN" (2017), arXiv:1703.06870;
Lin et al., "Feature pyramid networks for object detection" (2017), arXiv:1612.03144, equation 1.

    align[r, p, q] = sum_ij  rows[r, p, i]  x[i, j]  columns[r, q, j]
    rows[r, p, i]  = mean over the samples y of bin p of  max(0, 1 - |y - i|)          y: evenly spaced, not rounded
    pool[r, p, q]  = max of x over the pixels of bin (p, q)                          corners are rounded to pixels

The mean of bilinear samples over a bin separates into rows and columns, so RoIAlign is two matrix products, whose
gradient is two more. Equal to torchvision's `roi_align`, `roi_pool` and `MultiScaleRoIAlign`, gradients with respect to
the maps included; a box of size 0 or beyond the map gives zeros where theirs does.
"""

from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["multiscale_roi_align", "roi_align", "roi_pool"]

CHUNK_BYTES = 2**24
"""Largest intermediate result; more boxes are cropped one chunk after the other."""


def roi_align(
    features: jax.Array,
    boxes: jax.Array,
    output_size: int | tuple[int, int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = 2,
    aligned: bool = False,
) -> jax.Array:
    """Average bilinear samples of a map over the bins of boxes.

    Args:
      features: [H, W, C], the map of one image; `jax.vmap` for several.
      boxes: [R, 4] (x0, y0, x1, y1) in pixels of the image.
      output_size: bins along each side, or (h, w).
      spatial_scale: side of the map over side of the image.
      sampling_ratio: samples along each side of a bin; -1 for one a pixel of the map, which is not for use inside jit.
      aligned: pixel i of the map is at i + .5, not at i, and boxes smaller than one pixel of the map stay so.

    Returns:
      [R, h, w, C].

    Raises:
      ValueError: `sampling_ratio` is 0 or below -1, or it is -1 and the boxes are traced.
    """
    _check(features, boxes, sampling_ratio)
    crops = _crops(
        [features], boxes, [_axes(boxes, features.shape, output_size, spatial_scale, sampling_ratio, aligned)]
    )
    return crops.astype(features.dtype)


def multiscale_roi_align(
    levels: Sequence[jax.Array],
    boxes: jax.Array,
    output_size: int | tuple[int, int],
    strides: Sequence[float],
    assigned: jax.Array,
    sampling_ratio: int = 2,
    aligned: bool = False,
) -> jax.Array:
    """Crop each box from its own level of a pyramid, by RoIAlign.

    Args:
      levels: [H_i, W_i, C], the maps of one image.
      boxes: [R, 4] (x0, y0, x1, y1) in pixels of the image.
      output_size: bins along each side, or (h, w).
      strides: pixels of the image between two of each level.
      assigned: [R] int, the index in `levels` of each box; `dlcore.detection.fpn.assign_levels` chooses it by size.
      sampling_ratio: as for `roi_align`.
      aligned: as for `roi_align`.

    Returns:
      [R, h, w, C]; zeros where `assigned` is no level.

    Raises:
      ValueError: there are no levels or not as many strides, or as `roi_align`.
    """
    if not levels or len(levels) != len(strides):
        raise ValueError(
            f"strides={tuple(strides)}: for {len(levels)} levels; allowed: one stride a level, at least one"
        )
    chex.assert_shape(assigned, (boxes.shape[0],))
    axes = []
    for i, (level, stride) in enumerate(zip(levels, strides, strict=True)):
        _check(level, boxes, sampling_ratio)
        rows, columns = _axes(boxes, level.shape, output_size, 1 / stride, sampling_ratio, aligned)
        axes.append((rows * (assigned == i)[:, None, None], columns))
    return _crops(levels, boxes, axes).astype(levels[0].dtype)


def roi_pool(
    features: jax.Array, boxes: jax.Array, output_size: int | tuple[int, int], spatial_scale: float = 1.0
) -> jax.Array:
    """Take the largest value of a map in each bin of boxes, whose corners are rounded to pixels of the map.

    A box from pixel a to pixel b contains both; bins overlap where their number does not divide the box.

    Args:
      features: [H, W, C], the map of one image; `jax.vmap` for several.
      boxes: [R, 4] (x0, y0, x1, y1) in pixels of the image.
      output_size: bins along each side, or (h, w).
      spatial_scale: side of the map over side of the image.

    Returns:
      [R, h, w, C]; 0 where a bin is outside the map. The gradient of a bin goes to the first of its largest values.
    """
    _check(features, boxes)
    (height, width, channels), (h, w) = features.shape, _pair(output_size)
    corners = boxes * spatial_scale
    corners = jnp.sign(corners) * jnp.floor(jnp.abs(corners) + 0.5)
    lowest = -jnp.inf if jnp.issubdtype(features.dtype, jnp.inexact) else jnp.iinfo(features.dtype).min

    def bins(low, high, count, length):
        """[count, length] bool, the pixels of each bin along one axis."""
        size = jnp.maximum(high - low + 1, 1) / count
        start, stop = jnp.floor(jnp.arange(count) * size) + low, jnp.ceil((jnp.arange(count) + 1) * size) + low
        pixels = jnp.arange(length)
        return (pixels >= start[:, None]) & (pixels < stop[:, None])

    def crop(box):
        rows, columns = bins(box[1], box[3], h, height), bins(box[0], box[2], w, width)
        fixed = jax.lax.stop_gradient(features)
        inside = jnp.where(columns[:, None, :, None], fixed, lowest)  # [w, H, W, C]
        x = inside.argmax(2)
        inside = jnp.where(rows[:, None, :, None], inside.max(2), lowest)  # [h, w, H, C]
        y = inside.argmax(2)
        x = jnp.take_along_axis(jnp.broadcast_to(x, (h, *x.shape)), y[:, :, None], 2)[:, :, 0]
        filled = rows.any(1)[:, None, None] & columns.any(1)[None, :, None]
        return jnp.where(filled, features[y, x, jnp.arange(channels)], 0)

    return jax.lax.map(crop, corners)


def _check(features: jax.Array, boxes: jax.Array, sampling_ratio: int = 1) -> None:
    chex.assert_rank(features, 3)
    chex.assert_shape(boxes, (None, 4))
    if sampling_ratio == 0 or sampling_ratio < -1:
        raise ValueError(f"sampling_ratio={sampling_ratio}: no number of samples; allowed: at least 1, or -1")
    if sampling_ratio == -1 and isinstance(boxes, jax.core.Tracer):
        raise ValueError("sampling_ratio=-1: the number of samples depends on traced boxes; allowed there: at least 1")


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)


def _axes(
    boxes: jax.Array, shape: tuple, output_size: int | tuple, scale: float, ratio: int, aligned: bool
) -> tuple[jax.Array, jax.Array]:
    """Weights of the rows [R, h, H] and of the columns [R, w, W]."""
    boxes = boxes.astype(jnp.promote_types(boxes.dtype, jnp.float32)) * scale - (0.5 if aligned else 0.0)
    return tuple(
        _weights(boxes[:, axis], boxes[:, axis + 2], bins, length, ratio, aligned)
        for axis, bins, length in zip((1, 0), _pair(output_size), shape[:2], strict=True)
    )


def _weights(low: jax.Array, high: jax.Array, bins: int, length: int, ratio: int, aligned: bool) -> jax.Array:
    """What each of `length` pixels adds to each bin: [R, bins, length]; samples beyond the map are zeros."""
    side = high - low if aligned else jnp.maximum(high - low, 1.0)
    size = side / bins
    if ratio == -1:
        counts = jnp.ceil(size)
        samples = max(1, int(np.max(np.asarray(counts), initial=1)))
    else:
        counts, samples = jnp.full_like(size, ratio), ratio
    i = jnp.arange(samples)
    step = (i + 0.5) / jnp.maximum(counts, 1)[:, None]  # [R, S]
    at = low[:, None, None] + (jnp.arange(bins)[:, None] + step[:, None]) * size[:, None, None]  # [R, bins, S]
    counted = (at >= -1) & (at <= length) & (i < counts[:, None])[:, None]
    near = jnp.maximum(1 - jnp.abs(jnp.clip(at, 0, length - 1)[..., None] - jnp.arange(length)), 0)
    return jnp.where(counted[..., None], near, 0).sum(2) / jnp.maximum(counts, 1)[:, None, None]


def _crops(levels: Sequence[jax.Array], boxes: jax.Array, axes: Sequence[tuple[jax.Array, jax.Array]]) -> jax.Array:
    """Sum over the levels of rows x columns: [R, h, w, C]."""

    def crop(axes):
        return sum(_product(level, *pair) for level, pair in zip(levels, axes, strict=True))

    count, bins = boxes.shape[0], axes[0][0].shape[1]
    size = max(4 * bins * level.shape[1] * level.shape[2] for level in levels)
    chunks = -(-count * size // CHUNK_BYTES)
    if chunks <= 1:
        return crop(axes)
    chunk = -(-count // chunks)
    axes = jax.tree.map(lambda x: jnp.pad(x, ((0, chunks * chunk - count), (0, 0), (0, 0))), axes)
    parts = jax.lax.map(crop, jax.tree.map(lambda x: x.reshape(chunks, chunk, *x.shape[1:]), axes))
    return parts.reshape(-1, *parts.shape[2:])[:count]


def _product(features: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    features = features.astype(jnp.promote_types(features.dtype, rows.dtype))
    precision = jax.lax.Precision.HIGHEST
    lines = jnp.einsum("rph,hwc->rpwc", rows, features, precision=precision)
    return jnp.einsum("rqw,rpwc->rpqc", columns, lines, precision=precision)
