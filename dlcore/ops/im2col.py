"""Convolution as one matrix product: every window becomes a row (im2col), and back (col2im).

Chellapilla, Puri & Simard, "High performance convolutional neural networks for document processing" (2006).

    cols[n, p, (k, c)] = x[n, s p + r k - l, c]         stride s, dilation r, low padding l;  conv(x, w) = cols W
    col2im             = its transpose: every entry is added to the pixel that it was copied from

A row runs over kernel rows, then kernel columns, then channels, as the leading axes of an HWIO kernel do, so
W = w.reshape(kh kw C, O). torch's unfold has channels first and windows last.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dlcore.choices import is_whole_number
from dlcore.ops.arithmetic import effective_kernel_size
from dlcore.ops.checks import check_range, check_shapes

__all__ = ["col2im", "conv_im2col", "im2col"]

Padding = str | int | Sequence[int | tuple[int, int]]


def im2col(
    x: jax.Array,
    kernel_size: int | Sequence[int],
    strides: int | Sequence[int] = 1,
    padding: Padding = "VALID",
    dilation: int | Sequence[int] = 1,
) -> jax.Array:
    """Copy the windows of images into rows; borders are padded with zeros.

    Args:
      x: [N, H, W, C].
      kernel_size: size of a window, one number or (rows, columns).
      strides: step between neighboring windows, one number or (rows, columns).
      padding: "SAME", "VALID", one number for all sides, or a number or (low, high) pair for each axis.
      dilation: distance between neighboring taps, one number or (rows, columns).

    Returns:
      [N, H', W', kh kw C].
    """
    if x.ndim != 4:
        raise ValueError(f"x.shape={x.shape}: not an image batch; allowed: [N, H, W, C]")
    kernel, strides, dilation = (
        pair_of(name, v) for name, v in (("kernel_size", kernel_size), ("strides", strides), ("dilation", dilation))
    )
    pads = pads_of(padding, x.shape[1:3], kernel, strides, dilation)
    counts = window_counts(x.shape[1:3], kernel, strides, pads, dilation)
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    n, _, _, channels = x.shape
    taps = []
    for k in range(kernel[0]):
        for j in range(kernel[1]):
            start = (k * dilation[0], j * dilation[1])
            stop = [a + (count - 1) * s + 1 for a, count, s in zip(start, counts, strides, strict=True)]
            taps.append(lax.slice(x, (0, *start, 0), (n, *stop, channels), (1, *strides, 1)))
    return jnp.concatenate(taps, -1)


def col2im(
    cols: jax.Array,
    size: tuple[int, int],
    kernel_size: int | Sequence[int],
    strides: int | Sequence[int] = 1,
    padding: Padding = "VALID",
    dilation: int | Sequence[int] = 1,
) -> jax.Array:
    """Add the rows of windows up to images, the transpose of `im2col`.

    Pixels in several windows get several terms: col2im(im2col(x)) is x times the number of windows over each pixel.

    Args:
      cols: [N, H', W', kh kw C].
      size: (H, W) of the images.
      kernel_size: size of a window, as for `im2col`.
      strides: step between neighboring windows, as for `im2col`.
      padding: padding of the images, as for `im2col`.
      dilation: distance between neighboring taps, as for `im2col`.

    Returns:
      [N, H, W, C].
    """
    kernel = pair_of("kernel_size", kernel_size)
    if cols.ndim != 4 or cols.shape[-1] % (kernel[0] * kernel[1]):
        raise ValueError(f"{cols.shape=}: not rows of windows; allowed: [N, H', W', {kernel[0] * kernel[1]} C]")
    check_shapes(size=(np.asarray(size), "int 2"))
    check_range("size", size, 1)
    shape = (cols.shape[0], *map(int, size), cols.shape[-1] // (kernel[0] * kernel[1]))
    unfold = functools.partial(im2col, kernel_size=kernel_size, strides=strides, padding=padding, dilation=dilation)
    expected = jax.eval_shape(unfold, jax.ShapeDtypeStruct(shape, cols.dtype)).shape
    if expected != cols.shape:
        raise ValueError(f"cols.shape={cols.shape}: does not fit size={tuple(size)}; allowed: {expected}")
    return jax.linear_transpose(unfold, jax.ShapeDtypeStruct(shape, cols.dtype))(cols)[0]


def conv_im2col(
    x: jax.Array,
    kernel: jax.Array,
    strides: int | Sequence[int] = 1,
    padding: Padding = "VALID",
    dilation: int | Sequence[int] = 1,
) -> jax.Array:
    """Convolve by one matrix product, in the memory of kh kw copies of the images.

    Args:
      x: [N, H, W, C].
      kernel: [kh, kw, C, O].
      strides: step between neighboring windows, one number or (rows, columns).
      padding: "SAME", "VALID", one number for all sides, or a number or (low, high) pair for each axis.
      dilation: distance between neighboring taps, one number or (rows, columns).

    Returns:
      [N, H', W', O].
    """
    check_operands(x, kernel)
    cols = im2col(x, kernel.shape[:2], strides, padding, dilation)
    return jnp.dot(cols, kernel.reshape(-1, kernel.shape[-1]), precision=lax.Precision.HIGHEST)


def check_operands(x: Any, kernel: Any) -> None:
    """Raise ValueError unless x is [N, H, W, C] and kernel is [kh, kw, C, O]."""
    if x.ndim != 4:
        raise ValueError(f"x.shape={x.shape}: not an image batch; allowed: [N, H, W, C]")
    if kernel.ndim != 4 or kernel.shape[2] != x.shape[3]:
        raise ValueError(f"{kernel.shape=}: does not fit {x.shape=}; allowed: [kh, kw, {x.shape[3]}, O]")


def pair_of(name: str, value: int | Sequence[int], least: int = 1) -> tuple[int, int]:
    """(rows, columns) of a number or a pair; ValueError where it is neither or below `least`."""
    pair = tuple(value) if isinstance(value, Sequence | np.ndarray) else (value, value)
    if len(pair) != 2 or not all(is_whole_number(v) and v >= least for v in pair):
        raise ValueError(f"{name}={value}: not a size; allowed: an int of at least {least}, or two of them")
    return pair


def pads_of(
    padding: Padding, sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilation: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """((low, high), ...) of a padding in any form; ValueError for anything else."""
    if isinstance(padding, str):
        if padding.upper() not in ("SAME", "VALID"):
            raise ValueError(f"padding={padding!r}: unknown; allowed: SAME, VALID, numbers or (low, high) pairs")
        extent = [effective_kernel_size(k, d) for k, d in zip(kernel, dilation, strict=True)]
        return tuple(lax.padtype_to_pads(sizes, extent, strides, padding.upper()))
    per_axis: Any = padding if isinstance(padding, Sequence | np.ndarray) else [padding] * len(sizes)
    pads: Any = tuple(tuple(p) if isinstance(p, Sequence | np.ndarray) else (p, p) for p in per_axis)
    is_pair = [len(p) == 2 and all(is_whole_number(n) and n >= 0 for n in p) for p in pads]
    if len(pads) != len(sizes) or not all(is_pair):
        raise ValueError(f"{padding=}: does not fit {len(sizes)} axes; allowed: a number from 0 or a pair for each")
    return pads


def window_counts(
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[tuple[int, int]],
    dilation: Sequence[int],
) -> tuple[int, ...]:
    """Number of windows along each axis; ValueError where the input is smaller than one window."""
    counts = []
    for size, k, s, p, d in zip(sizes, kernel, strides, pads, dilation, strict=True):
        free = size + sum(p) - effective_kernel_size(k, d)
        if free < 0:
            raise ValueError(f"kernel_size={tuple(kernel)}: larger than the padded input; allowed: {size} + {sum(p)}")
        counts.append(free // s + 1)
    return tuple(counts)
