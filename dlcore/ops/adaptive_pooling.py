"""Pooling to a given size, whatever the input's: windows that divide it as evenly as whole pixels allow.

window i of out     [floor(i n / out), ceil((i + 1) n / out))          neighbours may share a pixel; as in torch
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

__all__ = ["adaptive_avg_pool", "adaptive_max_pool"]


def adaptive_avg_pool(x: jax.Array, size: int | Sequence[int]) -> jax.Array:
    """Average: [..., H, W, C] -> [..., *size, C], summed in at least float32.

    size: as many numbers as there are spatial axes, or one for two axes. Raises: ValueError for numbers below 1, or a
    dtype that is not floating.
    """
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        raise ValueError(f"x has dtype {x.dtype}: an average needs a floating dtype, convert it first")
    total = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    for axis, out in _axes(x, size):
        start, stop = _windows(x.shape[axis], out)
        pixel = np.arange(x.shape[axis])
        inside = (pixel >= start[:, None]) & (pixel < stop[:, None])
        weight = (inside / (stop - start)[:, None]).astype(total.dtype)
        total = jnp.moveaxis(jnp.tensordot(total, weight, ((axis,), (1,)), precision=lax.Precision.HIGHEST), -1, axis)
    return total.astype(x.dtype)


def adaptive_max_pool(x: jax.Array, size: int | Sequence[int]) -> jax.Array:
    """The largest value: [..., H, W, C] -> [..., *size, C]; the arguments are those of `adaptive_avg_pool`."""
    for axis, out in _axes(x, size):
        start, stop = _windows(x.shape[axis], out)
        # A short window looks at its last pixel again.
        place = np.minimum(start[:, None] + np.arange((stop - start).max()), stop[:, None] - 1)
        parts = [jnp.take(x, place[:, k], axis) for k in range(place.shape[1])]
        x = parts[0]
        for part in parts[1:]:
            x = jnp.where((x >= part) | jnp.isnan(x), x, part)
    return x


def _axes(x: jax.Array, size: int | Sequence[int]) -> list[tuple[int, int]]:
    size = (size, size) if isinstance(size, int) else tuple(size)
    if x.ndim < len(size) + 1 or min(size) < 1:
        raise ValueError(f"size is {size} and x has shape {x.shape}; one number, at least 1, an axis before channels")
    first = x.ndim - len(size) - 1
    if 0 in x.shape[first:-1]:
        raise ValueError(f"x has shape {x.shape}; there must be pixels to pool")
    return [(first + i, out) for i, out in enumerate(size)]


def _windows(n: int, out: int) -> tuple[np.ndarray, np.ndarray]:
    i = np.arange(out)
    return i * n // out, -(-(i + 1) * n // out)
