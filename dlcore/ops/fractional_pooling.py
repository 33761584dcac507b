"""Fractional max pooling: feature maps shrink by a factor between 1 and 2, over regions drawn at random.

Graham 2014, "Fractional max-pooling", arXiv:1412.6071.

    out = floor(in / alpha),   start_i = floor((i + u) a) - floor(u a),   a = (in - k) / (out - 1),   the last: in - k

u is uniform in [0, 1), one for each axis. A window is k pixels wide, so neighbors overlap where the step is below k.
This is torch's pseudo-random sequence; torch draws one for each example and channel, and here one `key` gives one pair
of sequences for all: map over keys for more.
"""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.ops.checks import check_finite, check_range, check_shapes

__all__ = ["fractional_max_pool", "fractional_starts"]


def fractional_starts(u: jax.Array | float, size: int, output_size: int, window: int = 2) -> jax.Array:
    """First pixels of the pooling windows along one axis: ascending from 0 to size - window.

    Args:
      u: random shift of the sequence, in [0, 1).
      size: input pixels.
      output_size: number of windows.
      window: pixels in each window.

    Returns:
      [output_size] int32.
    """
    check_shapes(u=(u, "0 to <1"), size=(size, "int >= 1"), window=(window, "int >= 1"))
    check_shapes(output_size=(output_size, "int >= 1"))
    if window + output_size - 1 > size:
        raise ValueError(f"{output_size=}, {window=}: does not fit {size=}; allowed: window + output_size - 1 <= size")
    step = (size - window) / (output_size - 1) if output_size > 1 else 0.0
    starts = jnp.floor((jnp.arange(output_size) + u) * step) - jnp.floor(jnp.asarray(u) * step)
    return starts.at[-1].set(size - window).astype(jnp.int32)


def fractional_max_pool(
    key: jax.Array,
    x: jax.Array,
    ratio: float | Sequence[float] | None = None,
    *,
    output_size: Sequence[int] | None = None,
    window: int | Sequence[int] = 2,
) -> jax.Array:
    """Max pooling over regions with randomly drawn borders. A NaN in a region makes its output NaN.

    Args:
      key: PRNG key of the two shifts, rows and columns.
      x: [..., H, W, C].
      ratio: alpha = input size / output size, one number or (rows, columns), at least 1; above `window` some pixels are
        in no region. None where `output_size` is given.
      output_size: (H', W') in place of `ratio`.
      window: side of a region in pixels, one number or (rows, columns).

    Returns:
      [..., H', W', C], where H' = floor(H / alpha) for a ratio.
    """
    if x.ndim < 3:
        raise ValueError(f"x.shape={x.shape}: too few axes; allowed: [..., H, W, C]")
    windows = tuple(window) if isinstance(window, Sequence | np.ndarray) else (window, window)
    sizes = x.shape[-3:-1]
    if ratio is not None and output_size is None:
        check_range("ratio", ratio, 1)
        check_finite("ratio", ratio)
        check_shapes(ratio=(ratio, "2" if np.ndim(ratio) else "or None"))
        ratios = np.broadcast_to(ratio, 2).tolist()
        output_size = [math.floor(size / alpha + 1e-9) for size, alpha in zip(sizes, ratios, strict=True)]
    elif ratio is not None or output_size is None:
        raise ValueError(f"ratio={ratio} and output_size={output_size}: ambiguous; allowed: exactly one of them")
    check_shapes(window=(windows, "2"), output_size=(output_size, "2 or None"))
    draws = jax.random.uniform(key, (2,))
    for axis, size, out, k, u in zip((-3, -2), sizes, output_size, windows, draws, strict=True):
        starts = fractional_starts(u, size, out, k)
        x = functools.reduce(jnp.maximum, [jnp.take(x, starts + i, axis) for i in range(k)])
    return x
