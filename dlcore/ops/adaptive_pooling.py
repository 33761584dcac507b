"""Adaptive pooling: average or maximum to a given output size, whatever the size of the input.

window i of out     [floor(i n / out), ceil((i + 1) n / out))          neighbors may share a pixel; as in torch
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dlcore.choices import is_whole_number
from dlcore.ops.precision import result_dtype, to_acc_dtype

__all__ = ["adaptive_avg_pool", "adaptive_max_pool"]


def adaptive_avg_pool(x: jax.Array, size: int | Sequence[int]) -> jax.Array:
    """Average pooling to a given size; sums are taken in at least float32.

    Args:
      x: [..., H, W, C].
      size: output size, one number for each spatial axis; a single number stands for two equal axes.

    Returns:
      [..., *size, C], with the dtype of x; float32 for integers.
    """
    total = to_acc_dtype(x)
    for axis, out in _axes(x, size):
        start, stop = _windows(x.shape[axis], out)
        pixel = np.arange(x.shape[axis])
        inside = (pixel >= start[:, None]) & (pixel < stop[:, None])
        weight = (inside / (stop - start)[:, None]).astype(total.dtype)
        total = jnp.moveaxis(jnp.tensordot(total, weight, ((axis,), (1,)), precision=lax.Precision.HIGHEST), -1, axis)
    return total.astype(result_dtype(x))


def adaptive_max_pool(x: jax.Array, size: int | Sequence[int]) -> jax.Array:
    """Max pooling to a given size.

    A NaN in a window makes its output NaN. Among ties the gradient goes to the first pixel in row-major order.

    Args:
      x: [..., H, W, C].
      size: output size, one number for each spatial axis; a single number stands for two equal axes.

    Returns:
      [..., *size, C], with the dtype of x.
    """
    for axis, out in reversed(_axes(x, size)):
        start, stop = _windows(x.shape[axis], out)
        # Windows differ in length: the shorter ones repeat their last pixel.
        pixels = np.minimum(start[:, None] + np.arange((stop - start).max()), stop[:, None] - 1)
        parts = [jnp.take(x, pixels[:, k], axis) for k in range(pixels.shape[1])]
        x = parts[0]
        for part in parts[1:]:
            x = jnp.where((x >= part) | jnp.isnan(x), x, part)
    return x


def _axes(x: jax.Array, size: int | Sequence[int]) -> list[tuple[int, int]]:
    sizes = tuple(size) if isinstance(size, Sequence | np.ndarray) else (size, size)
    if x.ndim < len(sizes) + 1 or not all(map(is_whole_number, sizes)) or min(sizes) < 1:
        raise ValueError(f"size={sizes} for x.shape={x.shape}; allowed: numbers from 1, at most {x.ndim - 1} of them")
    first = x.ndim - len(sizes) - 1
    if 0 in x.shape[first:-1]:
        raise ValueError(f"x.shape={x.shape}: no pixels to pool; allowed: spatial axes of at least 1")
    return [(first + i, out) for i, out in enumerate(sizes)]


def _windows(n: int, out: int) -> tuple[np.ndarray, np.ndarray]:
    i = np.arange(out)
    return i * n // out, -(-(i + 1) * n // out)
