"""Crops of feature maps at boxes, each to the same size: RoIPool, and RoIAlign on one map or on a pyramid.

Girshick, "Fast R-CNN" (2015), arXiv:1504.08083; He, Gkioxari, Dollar & Girshick, "Mask R-CNN" (2017), arXiv:1703.06870;
Lin et al., "Feature pyramid networks for object detection" (2017), arXiv:1612.03144, equation 1.

    align[r, p, q] = sum_ij  rows[r, p, i]  x[i, j]  columns[r, q, j]
    rows[r, p, i]  = mean over the samples y of bin p of  max(0, 1 - |y - i|)          y: evenly spaced, not rounded
    align with reduce="max":  the largest of the bin's bilinear samples
    pool[r, p, q]  = max of x over the pixels of bin (p, q)                          corners are rounded to pixels

The mean of bilinear samples over a bin separates into rows and columns. Its value is read pixel by pixel, of each box
from its own level; its gradient is two matrix products a level. Equal to torchvision's `roi_align`, `roi_pool` and
`MultiScaleRoIAlign`, gradients with respect to the maps included; as there, boxes have no gradient.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_choice, is_whole_number
from dlcore.ops.checks import check_boxes, check_shapes
from dlcore.ops.im2col import pair_of
from dlcore.ops.precision import acc_dtype_of, result_dtype, to_acc_dtype

__all__ = ["multiscale_roi_align", "roi_align", "roi_pool"]

CHUNK_BYTES = 2**24
"""Largest intermediate result of the gradient; more boxes follow one chunk after the other."""

UNROLLED = 16
"""Pixels of a bin that are added up without a loop: those of two samples along each side."""


def roi_align(
    features: jax.Array,
    boxes: jax.Array,
    output_size: int | tuple[int, int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = 2,
    aligned: bool = False,
    reduce: Literal["mean", "max"] = "mean",
) -> jax.Array:
    """Take the mean, or the largest, of the bilinear samples of a map in each bin of boxes.

    Args:
      features: [H, W, C], the map of one image; `jax.vmap` for several.
      boxes: [R, 4] (x0, y0, x1, y1) in pixels of the image.
      output_size: bins along each side, or (h, w).
      spatial_scale: side of the map over side of the image.
      sampling_ratio: samples along each side of a bin; -1 for one a pixel of the map, which is not for use inside jit.
      aligned: pixel i of the map is at i + 0.5, not at i, and boxes smaller than one pixel of the map stay so.
      reduce: mean, as in torchvision, or max, which Mask R-CNN's paper names beside it; a sample beyond the map is 0.

    Returns:
      [R, h, w, C].
    """
    check_choice("reduce", reduce, ("mean", "max"))
    _check(features, boxes, output_size, sampling_ratio)
    check_shapes(spatial_scale=(spatial_scale, "> 0"))
    assigned = jnp.zeros(boxes.shape[0], int)
    crops = _crops([features], boxes, output_size, [spatial_scale], assigned, sampling_ratio, aligned, reduce)
    return crops.astype(result_dtype(features))


def multiscale_roi_align(
    levels: Sequence[jax.Array],
    boxes: jax.Array,
    output_size: int | tuple[int, int],
    strides: Sequence[float],
    assigned: jax.Array,
    sampling_ratio: int = 2,
    aligned: bool = False,
    reduce: Literal["mean", "max"] = "mean",
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
      reduce: as for `roi_align`.

    Returns:
      [R, h, w, C]; zeros where `assigned` is no level.
    """
    check_choice("reduce", reduce, ("mean", "max"))
    if not levels or len(levels) != len(strides):
        raise ValueError(f"strides={tuple(strides)}: for {len(levels)} levels; allowed: one a level, at least one")
    for level in levels:
        _check(level, boxes, output_size, sampling_ratio)
    check_shapes(boxes=(boxes, "R 4"), assigned=(assigned, "int R"), strides=(np.asarray(strides), "... > 0"))
    scales = [1 / stride for stride in strides]
    crops = _crops(levels, boxes, output_size, scales, assigned, sampling_ratio, aligned, reduce)
    return crops.astype(result_dtype(levels[0]))


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
    _check(features, boxes, output_size)
    check_shapes(spatial_scale=(spatial_scale, "> 0"))
    features, (h, w) = jnp.asarray(features), pair_of("output_size", output_size)
    height, width, channels = features.shape
    corners = to_acc_dtype(boxes) * spatial_scale
    corners = jnp.sign(corners) * jnp.floor(jnp.abs(corners) + 0.5)
    # Integers have no value below all others to stand outside of a bin.
    values = features if jnp.issubdtype(features.dtype, jnp.inexact) else to_acc_dtype(features)

    def bins(low, high, count, length):
        """[count, length] bool, the pixels of each bin along one axis."""
        size = jnp.maximum(high - low + 1, 1) / count
        start, stop = jnp.floor(jnp.arange(count) * size) + low, jnp.ceil((jnp.arange(count) + 1) * size) + low
        pixels = jnp.arange(length)
        return (pixels >= start[:, None]) & (pixels < stop[:, None])

    def crop(box):
        rows, columns = bins(box[1], box[3], h, height), bins(box[0], box[2], w, width)
        fixed = jax.lax.stop_gradient(values)
        inside = jnp.where(columns[:, None, :, None], fixed, -jnp.inf)  # [w, H, W, C]
        x = inside.argmax(2)
        inside = jnp.where(rows[:, None, :, None], inside.max(2), -jnp.inf)  # [h, w, H, C]
        y = inside.argmax(2)
        x = jnp.take_along_axis(jnp.broadcast_to(x, (h, *x.shape)), y[:, :, None], 2)[:, :, 0]
        filled = rows.any(1)[:, None, None] & columns.any(1)[None, :, None]
        return jnp.where(filled, features[y, x, jnp.arange(channels)], 0)

    return jax.lax.map(crop, corners)


def _check(features: jax.Array, boxes: jax.Array, output_size: int | tuple[int, int], sampling_ratio: int = 1) -> None:
    check_shapes(features=(features, "H W C"), boxes=(boxes, "R 4"))
    check_boxes("boxes", boxes)
    pair_of("output_size", output_size)
    if not is_whole_number(sampling_ratio) or sampling_ratio == 0 or sampling_ratio < -1:
        raise ValueError(f"sampling_ratio={sampling_ratio}: no number of samples; allowed: at least 1, or -1")
    if sampling_ratio == -1 and isinstance(boxes, jax.core.Tracer):
        raise ValueError("sampling_ratio=-1: the number of samples depends on traced boxes; allowed there: at least 1")


class _Taps(NamedTuple):
    """The pixels, tap s and S + s of sample s, that each bin reads along one axis, and their weights."""

    index: jax.Array
    weight: jax.Array
    counts: jax.Array

    def sample(self, s: int) -> "_Taps":
        """Take the two pixels of one sample, with weights of their own."""
        pair = np.array([s, self.index.shape[-1] // 2 + s])
        weight = self.weight[..., pair] * jnp.maximum(self.counts, 1)[:, None, None]
        return _Taps(self.index[..., pair], weight, self.counts)


def _taps(low: jax.Array, high: jax.Array, bins: int, length: jax.Array, ratio: int, aligned: bool) -> _Taps:
    """Two pixels for each sample. A sample within a pixel of the edge reads the last pixel; one beyond, nothing."""
    side = high - low if aligned else jnp.maximum(high - low, 1.0)
    size = side / bins
    if ratio == -1:
        counts = jnp.ceil(size)
        samples = max(1, int(np.max(np.asarray(counts), initial=1)))
    else:
        counts, samples = jnp.full_like(size, ratio), ratio
    i, counts, length = jnp.arange(samples), counts[:, None, None], length[:, None, None]
    at = low[:, None, None] + (jnp.arange(bins)[:, None] + (i + 0.5) / jnp.maximum(counts, 1)) * size[:, None, None]
    weight = jnp.where((at >= -1) & (at <= length) & (i < counts), 1 / jnp.maximum(counts, 1), 0)
    at = jnp.clip(at, 0, length - 1)
    first = jnp.floor(at)
    index = jnp.concatenate([first, jnp.minimum(first + 1, length - 1)], -1).astype(jnp.int32)
    weights = jnp.concatenate([(first + 1 - at) * weight, (at - first) * weight], -1)
    return _Taps(index, weights, counts[:, 0, 0])


def _crops(
    levels: Sequence[jax.Array],
    boxes: jax.Array,
    output_size: int | tuple[int, int],
    scales: Sequence[float],
    assigned: jax.Array,
    ratio: int,
    aligned: bool,
    reduce: str = "mean",
) -> jax.Array:
    level = jnp.clip(assigned, 0, len(levels) - 1)
    dtype = acc_dtype_of(boxes.dtype)
    boxes = boxes.astype(dtype) * jnp.asarray(scales, dtype)[level, None] - (0.5 if aligned else 0.0)
    rows, columns = (
        _taps(boxes[:, 1 - axis], boxes[:, 3 - axis], bins, _of_level(levels, axis, level), ratio, aligned)
        for axis, bins in enumerate(pair_of("output_size", output_size))
    )
    rows = rows._replace(weight=jnp.where((assigned == level)[:, None, None], rows.weight, 0))
    rows, columns = jax.lax.stop_gradient((rows, columns))
    if reduce == "mean":
        return _read(tuple(levels), rows, columns, level)

    def sample(i: int, j: int) -> jax.Array:
        value = _read(tuple(levels), rows.sample(i), columns.sample(j), level)
        exists = (i < rows.counts) & (j < columns.counts)
        return jnp.where(exists[:, None, None, None], value, -jnp.inf)

    counts = (taps.index.shape[-1] // 2 for taps in (rows, columns))
    best = functools.reduce(jnp.maximum, itertools.starmap(sample, itertools.product(*map(range, counts))))
    return jnp.where(jnp.isneginf(best), 0, best)


def _of_level(levels: Sequence[jax.Array], axis: int, level: jax.Array) -> jax.Array:
    return jnp.array([x.shape[axis] for x in levels])[level]


@jax.custom_vjp
def _read(levels: tuple[jax.Array, ...], rows: _Taps, columns: _Taps, level: jax.Array) -> jax.Array:
    """Add up what each bin reads from the level of its box: [R, h, w, C]."""
    table = jnp.concatenate([x.reshape(-1, x.shape[-1]) for x in levels])
    starts = np.cumsum([0, *(x.shape[0] * x.shape[1] for x in levels[:-1])])
    first = jnp.asarray(starts)[level, None, None] + rows.index * _of_level(levels, 1, level)[:, None, None]
    across = columns.index.shape[-1]
    shape = (*rows.index.shape[:2], columns.index.shape[1], table.shape[-1])

    def add(k, total):
        i, j = k // across, k % across
        at = first[:, :, None, i] + columns.index[:, None, :, j]
        return total + (rows.weight[:, :, None, i] * columns.weight[:, None, :, j])[..., None] * table[at]

    count, total = rows.index.shape[-1] * across, jnp.zeros(shape, jnp.promote_types(table.dtype, rows.weight.dtype))
    if count > UNROLLED:
        return jax.lax.fori_loop(0, count, add, total)
    for k in range(count):
        total = add(k, total)
    return total


def _read_forward(levels, rows, columns, level):
    return _read(levels, rows, columns, level), (levels, rows, columns, level)


def _read_backward(residuals, cotangent):
    """The adjoint of sum_ij rows[r, p, i] x[i, j] columns[r, q, j] is two matrix products; a scatter would be slow."""
    levels, rows, columns, level = residuals
    count, bins = rows.index.shape[:2]
    size = max(4 * bins * x.shape[1] * x.shape[2] for x in levels)
    chunks = max(1, -(-count * size // CHUNK_BYTES))
    chunk = -(-count // chunks)

    def matrix(taps, length):
        return ((taps.index[..., None] == jnp.arange(length)) * taps.weight[..., None]).sum(2)

    def product(x, i, part):
        rows, columns, level, cotangent = part
        rows = rows._replace(weight=jnp.where((level == i)[:, None, None], rows.weight, 0))
        precision = jax.lax.Precision.HIGHEST
        across = jnp.broadcast_to(matrix(columns, x.shape[1])[:, None], (*cotangent.shape[:3], x.shape[1]))
        lines = jnp.einsum("rpqc,rpqw->rpwc", cotangent, across, precision=precision)
        return jnp.einsum("rph,rpwc->hwc", matrix(rows, x.shape[0]), lines, precision=precision)

    def step(sums, part):
        return [total + product(x, i, part) for i, (x, total) in enumerate(zip(levels, sums, strict=True))], None

    def split(x):
        return jnp.pad(x, ((0, chunks * chunk - count), *[(0, 0)] * (x.ndim - 1))).reshape(chunks, chunk, *x.shape[1:])

    start = [jnp.zeros(x.shape, cotangent.dtype) for x in levels]
    sums, _ = jax.lax.scan(step, start, jax.tree.map(split, (rows, columns, level, cotangent)))
    return tuple(total.astype(x.dtype) for total, x in zip(sums, levels, strict=True)), None, None, None


_read.defvjp(_read_forward, _read_backward)
