"""Fractional max pooling: maps shrink by a factor between 1 and 2, over regions drawn at random.

Graham 2014, "Fractional max-pooling", arXiv:1412.6071.

    out = floor(in / alpha),   start_i = floor((i + u) a) - floor(u a),   a = (in - k) / (out - 1),   the last: in - k

u is uniform in [0, 1), one for each axis; a window is k pixels wide, so that neighbours overlap where the step is below
k. This is torch's pseudo-random sequence; it draws one for each example and channel, here one `key` is one pair of
sequences: map over keys for more.
"""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

__all__ = ["fractional_max_pool", "fractional_starts"]


def fractional_starts(u: jax.Array | float, size: int, out: int, window: int = 2) -> jax.Array:
    """Where the `out` windows over `size` pixels begin, [out] int32, ascending from 0 to size - window.

    u: in [0, 1). Raises: ValueError unless 1 <= out and window + out - 1 <= size.
    """
    if out < 1 or window < 1 or window + out - 1 > size:
        raise ValueError(
            f"size is {size}, out {out} and window {window}; at least 1 each and window + out - 1 <= size are needed"
        )
    step = (size - window) / (out - 1) if out > 1 else 0.0
    starts = jnp.floor((jnp.arange(out) + u) * step) - jnp.floor(jnp.asarray(u) * step)
    return starts.at[-1].set(size - window).astype(jnp.int32)


def fractional_max_pool(
    key: jax.Array,
    x: jax.Array,
    ratio: float | Sequence[float] | None = None,
    *,
    output_size: Sequence[int] | None = None,
    window: int | Sequence[int] = 2,
) -> jax.Array:
    """The largest value of each random region: [..., H, W, C] -> [..., floor(H / alpha), floor(W / alpha), C].

    ratio: alpha, one number or (down, right), above 1 and, for every pixel to be seen, at most `window`. output_size:
    (H', W') instead. A NaN in a region makes its output NaN.

    Raises: ValueError unless exactly one of ratio and output_size is given, and where they do not fit.
    """
    if x.ndim < 3:
        raise ValueError(f"x has shape {x.shape}; [..., H, W, C] is needed")
    if (ratio is None) == (output_size is None):
        raise ValueError(f"ratio is {ratio} and output_size {output_size}; give exactly one of them")
    windows = (window, window) if isinstance(window, int) else tuple(window)
    sizes = x.shape[-3:-1]
    if output_size is None:
        ratios = (ratio, ratio) if isinstance(ratio, int | float) else tuple(ratio)
        if min(ratios) < 1:
            raise ValueError(f"ratio is {ratio}; it must be at least 1")
        output_size = [math.floor(size / alpha + 1e-9) for size, alpha in zip(sizes, ratios, strict=True)]
    draws = jax.random.uniform(key, (2,))
    for axis, size, out, k, u in zip((-3, -2), sizes, output_size, windows, draws, strict=True):
        starts = fractional_starts(u, size, out, k)
        x = functools.reduce(jnp.maximum, [jnp.take(x, starts + i, axis) for i in range(k)])
    return x
