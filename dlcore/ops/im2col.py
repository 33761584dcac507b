"""Convolution as one matrix product: every window becomes a row (im2col), and back (col2im).

Chellapilla, Puri & Simard, "High performance convolutional neural networks for document processing" (2006).

    cols[n, p, (k, c)] = x[n, s p + r k - l, c]         stride s, dilation r, low padding l;  conv(x, w) = cols W
    col2im             = its transpose: every entry is added to the pixel that it was copied from

A row runs over kernel rows, then kernel columns, then channels, as the leading axes of an HWIO kernel do, so that
W = w.reshape(kh kw C, O). torch's unfold has channels first and windows last.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from dlcore.ops.arithmetic import effective_kernel_size

__all__ = ["col2im", "conv_im2col", "im2col"]

Padding = str | int | Sequence[int | tuple[int, int]]


def im2col(
    x: jax.Array,
    kernel_size: int | Sequence[int],
    strides: int | Sequence[int] = 1,
    padding: Padding = "VALID",
    dilation: int | Sequence[int] = 1,
) -> jax.Array:
    """The windows of x: [N, H, W, C] as rows -> [N, H', W', kh kw C]; borders are padded with zeros.

    padding: "SAME", "VALID", one number for all sides, or a number or (low, high) pair an axis.
    Raises: ValueError for shapes, windows, strides or paddings that do not fit.
    """
    if x.ndim != 4:
        raise ValueError(f"x has shape {x.shape}; it must be [N, H, W, C]")
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
    """Add rows [N, H', W', kh kw C] up to images of size (H, W) -> [N, H, W, C]; the other arguments are `im2col`'s.

    Pixels in several windows get several terms: col2im(im2col(x)) is x times how many windows see each pixel.
    Raises: ValueError where cols are not those of an image of that size.
    """
    kernel = pair_of("kernel_size", kernel_size)
    if cols.ndim != 4 or cols.shape[-1] % (kernel[0] * kernel[1]):
        raise ValueError(f"cols has shape {cols.shape}; it must be [N, H', W', {kernel[0]} * {kernel[1]} * C]")
    shape = (cols.shape[0], *size, cols.shape[-1] // (kernel[0] * kernel[1]))
    unfold = functools.partial(im2col, kernel_size=kernel_size, strides=strides, padding=padding, dilation=dilation)
    made = jax.eval_shape(unfold, jax.ShapeDtypeStruct(shape, cols.dtype)).shape
    if made != cols.shape:
        raise ValueError(f"cols has shape {cols.shape}; images of size {tuple(size)} give {made}")
    return jax.linear_transpose(unfold, jax.ShapeDtypeStruct(shape, cols.dtype))(cols)[0]


def conv_im2col(
    x: jax.Array,
    kernel: jax.Array,
    strides: int | Sequence[int] = 1,
    padding: Padding = "VALID",
    dilation: int | Sequence[int] = 1,
) -> jax.Array:
    """Convolve x: [N, H, W, C] with kernel: [kh, kw, C, O] by one product of matrices -> [N, H', W', O].

    Memory: kh kw copies of the image. Raises: ValueError where the shapes do not fit together.
    """
    check_operands(x, kernel)
    cols = im2col(x, kernel.shape[:2], strides, padding, dilation)
    return jnp.dot(cols, kernel.reshape(-1, kernel.shape[-1]), precision=lax.Precision.HIGHEST)


def check_operands(x: Any, kernel: Any) -> None:
    """Raise ValueError unless x is [N, H, W, C] and kernel [kh, kw, C, O]."""
    if x.ndim != 4:
        raise ValueError(f"x has shape {x.shape}; it must be [N, H, W, C]")
    if kernel.ndim != 4 or kernel.shape[2] != x.shape[3]:
        raise ValueError(f"kernel has shape {kernel.shape}; with x {x.shape} it must be [kh, kw, {x.shape[3]}, O]")


def pair_of(name: str, value: int | Sequence[int], least: int = 1) -> tuple[int, int]:
    """(rows, columns) of a number or a pair; ValueError where it is neither or below `least`."""
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or not all(isinstance(v, int) and v >= least for v in pair):
        raise ValueError(f"{name} is {value}; it must be a whole number of at least {least}, or two of them")
    return pair


def pads_of(
    padding: Padding, sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilation: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """((low, high), ...) of a padding in any form; ValueError for another."""
    if isinstance(padding, str):
        if padding.upper() not in ("SAME", "VALID"):
            raise ValueError(f'padding is {padding!r}; it must be "SAME", "VALID", numbers or (low, high) pairs')
        reach = [effective_kernel_size(k, d) for k, d in zip(kernel, dilation, strict=True)]
        return tuple(lax.padtype_to_pads(sizes, reach, strides, padding.upper()))
    padding = [padding] * len(sizes) if isinstance(padding, int) else padding
    pads = tuple((p, p) if isinstance(p, int) else tuple(p) for p in padding)
    if len(pads) != len(sizes) or any(len(p) != 2 or min(p) < 0 for p in pads):
        raise ValueError(
            f"padding is {padding}; it must be a number or a (low, high) pair, none negative, for each of {len(sizes)}"
        )
    return pads


def window_counts(
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[tuple[int, int]],
    dilation: Sequence[int],
) -> tuple[int, ...]:
    """How many windows there are along each axis; ValueError where not even one fits."""
    counts = []
    for size, k, s, p, d in zip(sizes, kernel, strides, pads, dilation, strict=True):
        free = size + sum(p) - effective_kernel_size(k, d)
        if free < 0:
            raise ValueError(
                f"kernel_size is {tuple(kernel)} with dilation {tuple(dilation)}: larger than the {size} pixels of x "
                f"with padding {p}"
            )
        counts.append(free // s + 1)
    return tuple(counts)
