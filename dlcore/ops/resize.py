"""Resizing by nearest, bilinear and bicubic interpolation, equal to torch's `interpolate`.

Keys, "Cubic convolution interpolation for digital image processing" (1981).

    output pixel i samples         s (i + 1/2) - 1/2,  s = in / out
    with align_corners             s i,                s = (in - 1) / (out - 1)
    bilinear                       max(0, 1 - |t|)
    bicubic, |t| < 1               (a + 2) |t|^3 - (a + 3) |t|^2 + 1
             |t| < 2               a (|t|^3 - 5 |t|^2 + 8 |t| - 4)
    antialias, s > 1               the same kernels s times as wide, normalized to sum 1

a is -0.75, and -0.5 with antialias, both as in torch; `jax.image.resize` has -0.5 and antialias always, and differs by
up to 0.2 on noise. Each axis is one product with a matrix of weights, which is computed from the sizes in float64.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dlcore.choices import check_choice, check_whole_number
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import acc_dtype_of, result_dtype

__all__ = ["RESIZE_METHODS", "resize"]

RESIZE_METHODS = ("nearest", "nearest_exact", "bilinear", "bicubic")


def resize(
    x: jax.Array,
    size: int | Sequence[int] | None = None,
    method: str = "bilinear",
    align_corners: bool = False,
    antialias: bool = False,
    *,
    scale: float | Sequence[float] | None = None,
    cubic_coefficient: float | None = None,
) -> jax.Array:
    """Resize images, sequences or volumes; sums are taken in at least float32.

    Args:
      x: [..., H, W, C].
      size: (H', W'), or one number for both; one number in a sequence resizes one axis, three resize a volume. None
        where `scale` is given.
      method: "nearest" (torch's and OpenCV's, which takes the pixel at floor(s i)), "nearest_exact" (the nearest pixel
        center), "bilinear" (linear along every axis) or "bicubic".
      align_corners: keep the centers of the corner pixels in place.
      antialias: widen the kernel when shrinking, so that every input pixel counts.
      scale: output size / input size for each axis, or one number for both, in place of `size`. Sizes are rounded down,
        and coordinates follow the scale itself; bilinear without antialias copies an axis whose size stays, as torch.
      cubic_coefficient: a of the bicubic kernel; None means -0.75, and -0.5 under antialias.

    Returns:
      [..., H', W', C], with the dtype of x; float32 for integers, unless the method is a nearest one.
    """
    check_choice("method", method, RESIZE_METHODS)
    nearest = method.startswith("nearest")
    if nearest and (align_corners or antialias):
        raise ValueError(f"{align_corners=} and {antialias=}: undefined for {method}; allowed: False for both")
    check_shapes(cubic_coefficient=(cubic_coefficient, "finite or None"))
    sizes, scales = _targets(x, size, scale)
    first = x.ndim - len(sizes) - 1
    dtype, acc_dtype = (x.dtype, x.dtype) if nearest else (result_dtype(x), acc_dtype_of(x))
    for i, (out, ratio) in enumerate(zip(sizes, scales, strict=True)):
        axis, n = first + i, x.shape[first + i]
        if nearest:
            x = jnp.take(x, _nearest(n, out, ratio, method == "nearest_exact"), axis)
        elif out != n or (ratio != 1.0 and (method != "bilinear" or antialias)):
            a = (-0.5 if antialias else -0.75) if cubic_coefficient is None else cubic_coefficient
            weights = _weights(n, out, ratio, method, align_corners, antialias, a)
            product = jnp.tensordot(
                x.astype(acc_dtype), weights.astype(acc_dtype), ((axis,), (1,)), precision=lax.Precision.HIGHEST
            )
            x = jnp.moveaxis(product, -1, axis)
    return x.astype(dtype)


def _targets(x: jax.Array, size, scale) -> tuple[list[int], list[float]]:
    """Output sizes, and input pixels per output pixel, of each axis."""
    if (size is None) == (scale is None):
        raise ValueError(f"size={size} and scale={scale}: ambiguous; allowed: exactly one of them")
    name, values = ("size", size) if scale is None else ("scale", scale)
    check_shapes(**{name: (values, "..." if np.ndim(values) else "")})
    if np.ndim(values) > 1 or not np.size(values):
        raise ValueError(f"{name}={values}: no numbers for axes; allowed: one number, or one for each spatial axis")
    values = [values, values] if np.ndim(values) == 0 else list(values)
    if x.ndim < len(values) + 1:
        raise ValueError(f"x.shape={x.shape}: too few axes for {name}={values}; allowed: at least {len(values) + 1}")
    sides = x.shape[-len(values) - 1 : -1]
    if scale is None:
        for value in values:
            check_whole_number("size", value)
    if not all(0 < value < np.inf for value in values):
        raise ValueError(f"{name}={values}: not positive; allowed: above 0")
    outs = (
        [int(v) for v in values]
        if scale is None
        else [int(np.floor(n * v)) for n, v in zip(sides, values, strict=True)]
    )
    if min(sides) < 1 or min(outs) < 1:
        raise ValueError(f"{name}={values}: from {sides} to {tuple(outs)} pixels; allowed: at least 1 before and after")
    if scale is None:
        return outs, [n / out for n, out in zip(sides, outs, strict=True)]
    return outs, [1 / v for v in values]


def _nearest(n: int, out: int, ratio: float, exact: bool) -> np.ndarray:
    """Source pixel of every output pixel; in float32, so that ties fall where torch's do."""
    step = np.float32(ratio)
    position = np.arange(out, dtype=np.float32) + np.float32(0.5 if exact else 0)
    return np.minimum(np.floor(position * step).astype(np.int64), n - 1)


def _weights(n: int, out: int, ratio: float, method: str, align_corners: bool, antialias: bool, a: float) -> np.ndarray:
    """[out, n]: the weight of every input pixel in every output pixel."""
    if align_corners:
        ratio = (n - 1) / (out - 1) if out > 1 else 0.0
    kernel = _linear if method == "bilinear" else lambda t: _cubic(t, a)
    matrix = np.zeros((out, n))
    reach = 1 if method == "bilinear" else 2
    if antialias:
        stretch = max(ratio, 1.0)
        for i in range(out):
            center = ratio * (i + 0.5)
            low = max(int(center - reach * stretch + 0.5), 0)
            high = min(int(center + reach * stretch + 0.5), n)
            weight = kernel((np.arange(low, high) - center + 0.5) / stretch)
            matrix[i, low:high] = weight / weight.sum()
        return matrix
    center = ratio * np.arange(out) if align_corners else ratio * (np.arange(out) + 0.5) - 0.5
    center = np.maximum(center, 0) if method == "bilinear" else center
    below = np.floor(center).astype(np.int64)
    for tap in range(1 - reach, 1 + reach):
        np.add.at(matrix, (np.arange(out), np.clip(below + tap, 0, n - 1)), kernel(center - below - tap))
    return matrix


def _linear(t: np.ndarray) -> np.ndarray:
    return np.maximum(0, 1 - np.abs(t))


def _cubic(t: np.ndarray, a: float) -> np.ndarray:
    t = np.abs(t)
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = a * (((t - 5) * t + 8) * t - 4)
    return np.where(t <= 1, near, np.where(t < 2, far, 0))
