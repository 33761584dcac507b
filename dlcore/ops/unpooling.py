"""Unpooling: from a small map to a large one without weights.

    nearest         every value is repeated f x f times
    bed of nails    the value in the top left corner of its f x f block, zeros elsewhere
    max unpool      the value where the maximum was, zeros elsewhere           Zeiler & Fergus 2013, arXiv:1311.2901

Positions are torch's: row W + column in the plane that was pooled.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from dlcore.ops.arithmetic import conv_output_size, effective_kernel_size
from dlcore.ops.im2col import Padding, pads_of, pair_of, window_counts

__all__ = ["bed_of_nails", "max_pool_with_indices", "max_unpool", "nearest_unpool"]


def nearest_unpool(x: jax.Array, factor: int | Sequence[int] = 2) -> jax.Array:
    """Repeat every pixel: [..., H, W, C] -> [..., H fy, W fx, C]. ValueError for factors below 1."""
    fy, fx = _factors(x, factor)
    return jnp.repeat(jnp.repeat(x, fy, -3), fx, -2)


def bed_of_nails(x: jax.Array, factor: int | Sequence[int] = 2) -> jax.Array:
    """Put every pixel in the top left corner of a block of zeros: [..., H, W, C] -> [..., H fy, W fx, C].

    ValueError for factors below 1.
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
    """Max pooling that remembers: [N, H, W, C] -> (values, positions int32), both [N, H', W', C].

    strides are the window's by default, as in torch. Padding never wins. Among ties the first pixel in row-major order
    does, and a NaN wins over all. Raises: ValueError for windows, strides or paddings that do not fit.
    """
    if x.ndim != 4:
        raise ValueError(f"x has shape {x.shape}; it must be [N, H, W, C]")
    window = pair_of("window_shape", window_shape)
    strides = window if strides is None else pair_of("strides", strides)
    dilation = pair_of("dilation", dilation)
    n, height, width, channels = x.shape
    pads = pads_of(padding, (height, width), window, strides, dilation)
    counts = window_counts((height, width), window, strides, pads, dilation)
    if any(2 * max(p) > effective_kernel_size(k, d) for p, k, d in zip(pads, window, dilation, strict=True)):
        raise ValueError(f"padding is {padding}; it must be at most half the window, {window}")
    lowest = -jnp.inf if jnp.issubdtype(x.dtype, jnp.floating) else jnp.iinfo(x.dtype).min
    reach = [low + size + high for (low, high), size in zip(pads, (height, width), strict=True)]
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)), constant_values=lowest)
    rows, columns = (
        jnp.arange(count)[:, None] * s + jnp.arange(k) * d
        for count, s, k, d in zip(counts, strides, window, dilation, strict=True)
    )
    place = (rows[:, None, :, None] * reach[1] + columns[None, :, None, :]).reshape(*counts, -1)
    seen = padded.reshape(n, -1, channels)[:, place]
    row, column = place // reach[1] - pads[0][0], place % reach[1] - pads[1][0]
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    # A window of -inf alone must not choose the padding.
    best = seen.max(3, keepdims=True)
    wins = ((seen == best) | jnp.isnan(seen)) & inside[None, ..., None]
    chosen = jnp.argmax(wins, 3, keepdims=True)
    values = jnp.take_along_axis(seen, chosen, 3)[..., 0, :]
    index = jnp.take_along_axis((row * width + column)[None, ..., None], chosen, 3)[..., 0, :]
    return values, index.astype(jnp.int32)


def max_unpool(
    y: jax.Array,
    indices: jax.Array,
    window_shape: int | Sequence[int] = 2,
    strides: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    size: Sequence[int] | None = None,
) -> jax.Array:
    """Put values y: [N, H', W', C] where `max_pool_with_indices` found them -> [N, H, W, C], zeros elsewhere.

    size: (H, W); by default the smallest that pools to (H', W'), (H' - 1) stride - 2 padding + window. A position that
    overlapping windows share gets the value once. Raises: ValueError for shapes that do not fit, or a size that does
    not pool to y's.
    """
    if y.ndim != 4 or indices.shape != y.shape:
        raise ValueError(f"y has shape {y.shape} and indices {indices.shape}; both must be [N, H', W', C]")
    if not jnp.issubdtype(indices.dtype, jnp.integer):
        raise ValueError(f"indices has dtype {indices.dtype}; it must hold integers")
    window = pair_of("window_shape", window_shape)
    strides = window if strides is None else pair_of("strides", strides)
    padding = pair_of("padding", padding, 0)
    if size is None:
        size = [
            (count - 1) * s - 2 * p + k for count, s, p, k in zip(y.shape[1:3], strides, padding, window, strict=True)
        ]
    size = tuple(size)
    if len(size) != 2 or not all(
        n + 2 * p >= k and conv_output_size(n, k, s, p) == count
        for n, k, s, p, count in zip(size, window, strides, padding, y.shape[1:3], strict=True)
    ):
        raise ValueError(f"size is {size}; with window {window} and strides {strides} it must pool to {y.shape[1:3]}")
    n, channels = y.shape[0], y.shape[3]
    flat = jnp.zeros((n, size[0] * size[1], channels), y.dtype)
    image, channel = jnp.arange(n)[:, None, None], jnp.arange(channels)
    flat = flat.at[image, indices.reshape(n, -1, channels), channel].set(y.reshape(n, -1, channels), mode="drop")
    return flat.reshape(n, *size, channels)


def _factors(x: jax.Array, factor: int | Sequence[int]) -> tuple[int, int]:
    if x.ndim < 3:
        raise ValueError(f"x has shape {x.shape}; it must be [..., H, W, C]")
    return pair_of("factor", factor)
