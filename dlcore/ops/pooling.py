"""Max and average pooling as maxima and sums over strided slices, one axis after the other.

Boureau, Ponce & LeCun, "A theoretical analysis of feature pooling in visual recognition" (ICML 2010).

    max:      y[p] = max_k x[s p + k - l]                      window k, stride s, low padding l (filled with -inf)
    average:  y[p] = 1/n_p sum_k x[s p + k - l]                n_p counts the padding too, or only the pixels

A window is a product of intervals, so a maximum or a sum over it is taken axis by axis. On a CPU the gradient of
`lax.reduce_window` takes 16 times (2x2) or three times (3x3, stride 2) as long as that of these slices.
"""

import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dlcore.choices import is_whole_number
from dlcore.ops.im2col import Padding, pads_of
from dlcore.ops.precision import acc_dtype_of, result_dtype, to_acc_dtype

__all__ = ["avg_pool", "global_avg_pool", "max_pool"]


def max_pool(
    x: jax.Array,
    window_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: Padding = "VALID",
    ceil_mode: bool = False,
) -> jax.Array:
    """Max pooling: the largest value of each window.

    A NaN in a window makes its output NaN. Among ties the gradient goes to the first pixel in row-major order, as with
    `lax.reduce_window` and torch.

    Args:
      x: [..., H, W, C]; all axes before the spatial ones are batch axes.
      window_shape: window size along each spatial axis: two numbers for images, one for sequences, three for clips.
      strides: step between neighboring windows along each axis; None means 1, as in flax.
      padding: "SAME", "VALID", one number for all sides, or a number or (low, high) pair for each axis.
      ceil_mode: keep a last partial window that starts inside the input or its low padding, as in torch.

    Returns:
      [..., H', W', C], with the dtype of x.
    """
    lowest = -jnp.inf if jnp.issubdtype(x.dtype, jnp.inexact) else jnp.iinfo(x.dtype).min
    for axis, k, stride, (low, high), extra in reversed(_plan(x, window_shape, strides, padding, ceil_mode)):
        x = _over_slices(_first_largest, x, axis, k, stride, (low, high + extra), lowest)
    return x


def avg_pool(
    x: jax.Array,
    window_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: Padding = "VALID",
    count_include_pad: bool = True,
    ceil_mode: bool = False,
) -> jax.Array:
    """Average pooling: the mean of each window; sums are taken in at least float32.

    Args:
      x: [..., H, W, C]; all axes before the spatial ones are batch axes.
      window_shape: window size along each spatial axis.
      strides: step between neighboring windows along each axis; None means 1, as in flax.
      padding: "SAME", "VALID", one number for all sides, or a number or (low, high) pair for each axis.
      count_include_pad: divide by the pixels and padding in the window (never by what ceil_mode adds beyond it);
        otherwise by the pixels alone.
      ceil_mode: keep a last partial window that starts inside the input or its low padding, as in torch.

    Returns:
      [..., H', W', C], with the dtype of x; float32 for integers.
    """
    total = to_acc_dtype(x)
    plan = _plan(x, window_shape, strides, padding, ceil_mode)
    if all(k == stride and not (low or high or extra) for _, k, stride, (low, high), extra in plan):
        return _tile_means(total, [(axis, k) for axis, k, *_ in plan]).astype(result_dtype(x))
    for axis, k, stride, (low, high), extra in reversed(plan):
        num_valid = np.ones(low + x.shape[axis] + high)
        if not count_include_pad:
            num_valid[:low] = num_valid[low + x.shape[axis] :] = 0
        total = _over_slices(jnp.add, total, axis, k, stride, (low, high + extra), 0)
        starts = np.arange(total.shape[axis]) * stride
        counts = np.array([num_valid[start : start + k].sum() for start in starts])
        shape = [-1 if i == axis else 1 for i in range(x.ndim)]
        total = total / np.maximum(counts, 1).reshape(shape).astype(total.dtype)
    return total.astype(result_dtype(x))


def global_avg_pool(x: jax.Array) -> jax.Array:
    """Average over the two spatial axes; sums are taken in at least float32.

    Args:
      x: [..., H, W, C].

    Returns:
      [..., C], with the dtype of x; float32 for integers.
    """
    if x.ndim < 3:
        raise ValueError(f"x.shape={x.shape}: too few axes; allowed: [..., H, W, C]")
    if 0 in x.shape[-3:-1]:
        raise ValueError(f"x.shape={x.shape}: no pixels to average; allowed: spatial axes of at least 1")
    return x.mean((-3, -2), dtype=acc_dtype_of(x)).astype(result_dtype(x))


def _tile_means(x: jax.Array, windows: list[tuple[int, int]]) -> jax.Array:
    """Means of windows that neither overlap nor reach outside; a remainder at the far ends is dropped."""
    shape, inner = list(x.shape), []
    for i, (axis, k) in enumerate(windows):
        x = lax.slice_in_dim(x, 0, x.shape[axis] // k * k, axis=axis)
        shape[axis + i : axis + i + 1] = [x.shape[axis] // k, k]
        inner.append(axis + i + 1)
    x, sizes = x.reshape(shape), [k for _, k in windows]
    if math.prod(sizes) > 16:
        return x.mean(inner)

    def corner(offsets: tuple[int, ...]) -> jax.Array:
        return x[tuple(dict(zip(inner, offsets, strict=True)).get(axis, slice(None)) for axis in range(x.ndim))]

    return functools.reduce(jnp.add, map(corner, np.ndindex(*sizes))) / math.prod(sizes)


def _first_largest(a: jax.Array, b: jax.Array) -> jax.Array:
    return lax.select((a >= b) | (a != a), a, b)


def _over_slices(
    combine: Callable, x: jax.Array, axis: int, k: int, stride: int, padding: tuple[int, int], fill: float
) -> jax.Array:
    if any(padding):
        widths = [(*padding, 0) if i == axis else (0, 0, 0) for i in range(x.ndim)]
        x = lax.pad(x, jnp.asarray(fill, x.dtype), widths)
    count = (x.shape[axis] - k) // stride + 1
    parts = [lax.slice_in_dim(x, i, i + (count - 1) * stride + 1, stride, axis) for i in range(k)]
    return functools.reduce(combine, parts)


def _plan(x: jax.Array, window_shape, strides, padding, ceil_mode) -> list[tuple]:
    """(axis, window, stride, (low, high), pixels that ceil_mode adds to high) for each spatial axis."""
    for name, sizes in (("window_shape", window_shape), ("strides", () if strides is None else strides)):
        if not isinstance(sizes, Sequence | np.ndarray) or not all(map(is_whole_number, sizes)):
            raise ValueError(f"{name}={sizes}: no sizes; allowed: whole numbers, one for each spatial axis")
    window_shape = tuple(window_shape)
    if not window_shape:
        raise ValueError("window_shape=(): no spatial axis; allowed: at least one number")
    n = len(window_shape)
    strides = (1,) * n if strides is None else tuple(strides)
    if x.ndim < n + 1:
        raise ValueError(f"x.shape={x.shape}: too few axes for window_shape={window_shape}; allowed: at least {n + 1}")
    if len(strides) != n:
        raise ValueError(f"strides={strides}: does not fit window_shape={window_shape}; allowed: {n} numbers")
    if min(window_shape + strides) < 1:
        raise ValueError(f"window_shape={window_shape} and strides={strides}: too small; allowed: at least 1")
    sizes = x.shape[-n - 1 : -1]
    plan = []
    for i, (size, k, stride, pads) in enumerate(
        zip(sizes, window_shape, strides, pads_of(padding, sizes, window_shape, strides, (1,) * n), strict=True)
    ):
        free = size + sum(pads) - k
        if free < 0:
            raise ValueError(f"{window_shape=}: larger than the padded input; allowed: up to {sizes} + padding {pads}")
        extra = 0
        if ceil_mode:
            count = math.ceil(free / stride) + 1
            count -= (count - 1) * stride >= size + pads[0]
            extra = max((count - 1) * stride - free, 0)
        plan.append((x.ndim - n - 1 + i, k, stride, pads, extra))
    return plan
