"""Unpooling: from a small feature map to a large one without weights.

    nearest         every value is repeated f x f times
    bed of nails    the value in the top left corner of its f x f block, zeros elsewhere
    max unpool      the value at the location of the maximum, zeros elsewhere  Zeiler & Fergus 2013, arXiv:1311.2901

Indices are torch's: row W + column in the pooled plane.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from dlcore.choices import check_whole_number
from dlcore.ops.arithmetic import conv_output_size, effective_kernel_size
from dlcore.ops.checks import check_indices
from dlcore.ops.im2col import Padding, pads_of, pair_of, window_counts

__all__ = ["bed_of_nails", "max_pool_with_indices", "max_unpool", "nearest_unpool"]


def nearest_unpool(x: jax.Array, factor: int | Sequence[int] = 2) -> jax.Array:
    """Nearest unpooling: repeat every pixel.

    Args:
      x: [..., H, W, C].
      factor: repetitions, one number or (rows, columns).

    Returns:
      [..., H fy, W fx, C].
    """
    fy, fx = _factors(x, factor)
    return jnp.repeat(jnp.repeat(x, fy, -3), fx, -2)


def bed_of_nails(x: jax.Array, factor: int | Sequence[int] = 2) -> jax.Array:
    """Bed-of-nails unpooling: put every pixel in the top left corner of a block of zeros.

    Args:
      x: [..., H, W, C].
      factor: size of the block, one number or (rows, columns).

    Returns:
      [..., H fy, W fx, C].
    """
    fy, fx = _factors(x, factor)
    config = [(0, 0, 0)] * (x.ndim - 3) + [(0, fy - 1, fy - 1), (0, fx - 1, fx - 1), (0, 0, 0)]
    return jax.lax.pad(x, jnp.zeros((), x.dtype), config)


def max_pool_with_indices(
    x: jax.Array,
    window_shape: int | Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: Padding = "VALID",
    dilation: int | Sequence[int] = 1,
) -> tuple[jax.Array, jax.Array]:
    """Max pooling that also returns the location of each maximum.

    Padding is never the maximum. Of equal values the first in row-major order is taken, and a NaN exceeds all values.

    Args:
      x: [N, H, W, C].
      window_shape: window size, one number or (rows, columns).
      strides: step between neighboring windows; None means the window size, as in torch.
      padding: "SAME", "VALID", one number for all sides, or a number or (low, high) pair for each axis; at most half
        the window.
      dilation: distance between neighboring pixels of a window, one number or (rows, columns).

    Returns:
      (values, int32 indices row W + column), both [N, H', W', C].
    """
    if x.ndim != 4:
        raise ValueError(f"x.shape={x.shape}: not an image batch; allowed: [N, H, W, C]")
    window = pair_of("window_shape", window_shape)
    strides = window if strides is None else pair_of("strides", strides)
    dilation = pair_of("dilation", dilation)
    n, height, width, channels = x.shape
    pads = pads_of(padding, (height, width), window, strides, dilation)
    counts = window_counts((height, width), window, strides, pads, dilation)
    if any(2 * max(p) > effective_kernel_size(k, d) for p, k, d in zip(pads, window, dilation, strict=True)):
        raise ValueError(f"padding={padding}: too large; allowed: at most half of window_shape={window}")
    lowest = -jnp.inf if jnp.issubdtype(x.dtype, jnp.floating) else jnp.iinfo(x.dtype).min
    padded_width = pads[1][0] + width + pads[1][1]
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)), constant_values=lowest)
    rows, columns = (
        jnp.arange(count)[:, None] * s + jnp.arange(k) * d
        for count, s, k, d in zip(counts, strides, window, dilation, strict=True)
    )
    taps = (rows[:, None, :, None] * padded_width + columns[None, :, None, :]).reshape(*counts, -1)
    windows = padded.reshape(n, -1, channels)[:, taps]
    row, column = taps // padded_width - pads[0][0], taps % padded_width - pads[1][0]
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    # Where all pixels of a window are -inf, the padding is as large: it must not be chosen.
    largest = windows.max(3, keepdims=True)
    is_largest = ((windows == largest) | jnp.isnan(windows)) & inside[None, ..., None]
    first = jnp.argmax(is_largest, 3, keepdims=True)
    values = jnp.take_along_axis(windows, first, 3)[..., 0, :]
    indices = jnp.take_along_axis((row * width + column)[None, ..., None], first, 3)[..., 0, :]
    return values, indices.astype(jnp.int32)


def max_unpool(
    y: jax.Array,
    indices: jax.Array,
    window_shape: int | Sequence[int] = 2,
    strides: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    size: Sequence[int] | None = None,
) -> jax.Array:
    """Max unpooling: put values at the locations from `max_pool_with_indices`, zeros elsewhere.

    Args:
      y: [N, H', W', C], values.
      indices: [N, H', W', C] int, row W + column. Where overlapping windows share a location, one of their values is
        put there, and they are equal if `y` is the pooled map.
      window_shape: window of the pooling, one number or (rows, columns).
      strides: strides of the pooling; None means the window size.
      padding: padding of the pooling, one number or (rows, columns).
      size: (H, W) of the result; None means the smallest that pools to (H', W'), (H' - 1) stride - 2 padding + window.

    Returns:
      [N, H, W, C].
    """
    if y.ndim != 4 or indices.shape != y.shape:
        raise ValueError(f"{y.shape=}, {indices.shape=}: do not fit; allowed: both [N, H', W', C]")
    if not jnp.issubdtype(indices.dtype, jnp.integer):
        raise ValueError(f"indices.dtype={indices.dtype}: not integers; allowed: integer dtypes")
    window = pair_of("window_shape", window_shape)
    strides = window if strides is None else pair_of("strides", strides)
    padding = pair_of("padding", padding, 0)
    if size is None:
        size = [
            (count - 1) * s - 2 * p + k for count, s, p, k in zip(y.shape[1:3], strides, padding, window, strict=True)
        ]
    size = tuple(size)
    for side in size:
        check_whole_number("size", side, 1)
    if len(size) != 2 or not all(
        n + 2 * p >= k and conv_output_size(n, k, s, p) == count
        for n, k, s, p, count in zip(size, window, strides, padding, y.shape[1:3], strict=True)
    ):
        raise ValueError(
            f"size={size}: does not fit y; allowed: sizes that window_shape={window} and strides={strides} pool to "
            f"{y.shape[1:3]}"
        )
    check_indices("indices", indices, size[0] * size[1], "positions")
    n, channels = y.shape[0], y.shape[3]
    flat = jnp.zeros((n, size[0] * size[1], channels), y.dtype)
    image, channel = jnp.arange(n)[:, None, None], jnp.arange(channels)
    flat = flat.at[image, indices.reshape(n, -1, channels), channel].set(y.reshape(n, -1, channels), mode="drop")
    return flat.reshape(n, *size, channels)


def _factors(x: jax.Array, factor: int | Sequence[int]) -> tuple[int, int]:
    if x.ndim < 3:
        raise ValueError(f"x.shape={x.shape}: too few axes; allowed: [..., H, W, C]")
    return pair_of("factor", factor)
