"""Depthwise convolution on a CPU: multiply-adds over the taps of the kernel.

    y[n, p, c, m]  = sum_k x[n, s p + r k - l, c] w[k, c, m]          stride s, dilation r, low padding l
    dx[n, i, c]    = sum_m sum_k dy[n, p, c, m] w[k, c, m]            where s p + r k - l = i
    dw[k, c, m]    = sum_n sum_p x[n, s p + r k - l, c] dy[n, p, c, m]

Each channel is convolved with its own kernels alone (Chollet 2017, arXiv:1610.02357), so the convolution is no matrix
product: XLA:CPU processes one channel after the other, 13 to 35 times slower than adding shifted images. Sums are taken
in at least float32. `dlcore.ops.conv_general_dilated` calls these functions where a program is lowered for a CPU.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

__all__ = ["MAX_DEPTHWISE_TAPS", "depthwise_conv", "depthwise_kernel_gradient", "depthwise_transpose"]

MAX_DEPTHWISE_TAPS = 169
"""Kernels with more taps than 13 x 13 are left to lax: every tap adds an operation to the program."""

_BLOCKS = 8
"""Blocks of the batch that are added elementwise in one pass; a product with ones sums the rest."""

Pair = tuple[int, int]


def depthwise_conv(
    x: jax.Array,
    kernel: jax.Array,
    strides: Pair,
    padding: tuple[Pair, Pair],
    lhs_dilation: Pair = (1, 1),
    rhs_dilation: Pair = (1, 1),
    dtype: Any = None,
) -> jax.Array:
    """Depthwise convolution as a sum of multiplied shifted images.

    Args:
      x: [N, H, W, C].
      kernel: [kh, kw, 1, C m], m kernels for each channel.
      strides: (rows, columns), steps between neighboring windows.
      padding: ((top, bottom), (left, right)); negative numbers crop.
      lhs_dilation: (rows, columns), distances between neighboring input pixels after zeros are inserted.
      rhs_dilation: (rows, columns), distances between neighboring taps.
      dtype: dtype of the result; None means that of x.

    Returns:
      [N, H', W', C m].
    """
    dtype = dtype or x.dtype
    acc_dtype = _wide(x.dtype, dtype)
    kh, kw, channels = *kernel.shape[:2], x.shape[3]
    rows, columns = _counts(x.shape[1:3], (kh, kw), strides, padding, lhs_dilation, rhs_dilation)
    w = kernel.astype(acc_dtype).reshape(kh, kw, channels, -1)
    if not min(rows, columns, kh, kw):
        return jnp.zeros((x.shape[0], rows, columns, kernel.shape[3]), dtype)
    image = _padded(x, padding, lhs_dilation)
    shifted = _shifted(image, (kh, kw), (rows, columns), strides, rhs_dilation)
    if w.shape[3] == 1:
        total = sum(part.astype(acc_dtype) * w[k, j, :, 0] for k, j, part in shifted)
    else:
        total = sum(part.astype(acc_dtype)[..., None] * w[k, j] for k, j, part in shifted)
    return jnp.asarray(total).reshape(x.shape[0], rows, columns, kernel.shape[3]).astype(dtype)


def depthwise_transpose(
    cotangent: jax.Array,
    kernel: jax.Array,
    shape: Sequence[int],
    strides: Pair,
    padding: tuple[Pair, Pair],
    lhs_dilation: Pair = (1, 1),
    rhs_dilation: Pair = (1, 1),
    dtype: Any = None,
) -> jax.Array:
    """Gradient of `depthwise_conv` with respect to its input.

    Args:
      cotangent: [N, H', W', C m], gradient with respect to the output.
      kernel: [kh, kw, 1, C m].
      shape: (N, H, W, C) of the input.
      strides: strides of the convolution, (rows, columns).
      padding: padding of the convolution, ((top, bottom), (left, right)).
      lhs_dilation: lhs dilation of the convolution's input, (rows, columns).
      rhs_dilation: rhs dilation of the convolution's kernel, (rows, columns).
      dtype: dtype of the result; None means that of the cotangent.

    Returns:
      [N, H, W, C].
    """
    dtype = dtype or cotangent.dtype
    acc_dtype = _wide(cotangent.dtype, dtype)
    n, channels = shape[0], shape[3]
    sizes, kernel_size = shape[1:3], kernel.shape[:2]
    w = jnp.flip(kernel, (0, 1)).astype(acc_dtype).reshape(*kernel_size, channels, -1)
    if 0 in shape or cotangent.size == 0:
        return jnp.zeros(shape, dtype)
    low = [(k - 1) * r - p[0] for k, r, p in zip(kernel_size, rhs_dilation, padding, strict=True)]
    grown = [(size - 1) * d + 1 for size, d in zip(sizes, lhs_dilation, strict=True)]
    high = [
        g + (k - 1) * r - ((count - 1) * s + 1) - below
        for g, k, r, count, s, below in zip(
            grown, kernel_size, rhs_dilation, cotangent.shape[1:3], strides, low, strict=True
        )
    ]
    image = _padded(cotangent, tuple(zip(low, high, strict=True)), strides)
    total = 0
    for k, j, part in _shifted(image, kernel_size, sizes, lhs_dilation, rhs_dilation):
        if w.shape[3] == 1:
            total += part.astype(acc_dtype) * w[k, j, :, 0]
        else:
            total += (part.astype(acc_dtype).reshape(n, *sizes, channels, -1) * w[k, j]).sum(-1)
    return jnp.asarray(total).astype(dtype)


def depthwise_kernel_gradient(
    x: jax.Array,
    cotangent: jax.Array,
    shape: Sequence[int],
    strides: Pair,
    padding: tuple[Pair, Pair],
    lhs_dilation: Pair = (1, 1),
    rhs_dilation: Pair = (1, 1),
    dtype: Any = None,
) -> jax.Array:
    """Gradient of `depthwise_conv` with respect to its kernel.

    Args:
      x: [N, H, W, C], input of the convolution.
      cotangent: [N, H', W', C m], gradient with respect to the output.
      shape: (kh, kw, 1, C m) of the kernel.
      strides: strides of the convolution, (rows, columns).
      padding: padding of the convolution, ((top, bottom), (left, right)).
      lhs_dilation: lhs dilation of the convolution's input, (rows, columns).
      rhs_dilation: rhs dilation of the convolution's kernel, (rows, columns).
      dtype: dtype of the result; None means that of x.

    Returns:
      [kh, kw, 1, C m].
    """
    dtype = dtype or x.dtype
    acc_dtype = _wide(x.dtype, cotangent.dtype, dtype)
    if 0 in shape or cotangent.size == 0:
        return jnp.zeros(shape, dtype)
    multiplier = shape[3] // x.shape[3]
    blocks = min(x.shape[0], _BLOCKS)
    fill = ((0, -x.shape[0] % blocks, 0), (0, 0, 0), (0, 0, 0), (0, 0, 0))
    image = lax.pad(_padded(x, padding, lhs_dilation), jnp.zeros((), x.dtype), fill)
    dy = lax.pad(cotangent.astype(acc_dtype), jnp.zeros((), acc_dtype), fill)
    size = dy.shape[0] // blocks
    ones = jnp.ones((size * dy.shape[1] * dy.shape[2],), acc_dtype)
    extent = (size, *((count - 1) * s + 1 for count, s in zip(dy.shape[1:3], strides, strict=True)), image.shape[3])

    def tap(index: jax.Array) -> jax.Array:
        top, left = index // shape[1] * rhs_dilation[0], index % shape[1] * rhs_dilation[1]
        total = 0
        for i in range(blocks):
            a = lax.dynamic_slice(image, (i * size, top, left, 0), extent)[:, :: strides[0], :: strides[1]].astype(
                acc_dtype
            )
            b = lax.slice_in_dim(dy, i * size, (i + 1) * size)
            total += a * b if multiplier == 1 else a[..., None] * b.reshape(*a.shape, multiplier)
        return jnp.dot(ones, jnp.asarray(total).reshape(len(ones), -1), precision=lax.Precision.HIGHEST)

    return lax.map(tap, jnp.arange(shape[0] * shape[1])).reshape(shape).astype(dtype)


def _wide(*dtypes: Any) -> Any:
    return jnp.result_type(jnp.float32, *dtypes)


def _counts(sizes, kernel_size, strides, padding, lhs_dilation, rhs_dilation) -> list[int]:
    """Number of windows along each axis."""
    counts = []
    for size, k, s, pads, d, r in zip(sizes, kernel_size, strides, padding, lhs_dilation, rhs_dilation, strict=True):
        grown = (size - 1) * d + 1 if size else 0
        counts.append(max(math.floor((grown + sum(pads) - (k - 1) * r - 1) / s) + 1, 0))
    return counts


def _padded(x: jax.Array, padding: Sequence[Pair], dilation: Sequence[int]) -> jax.Array:
    """Insert zeros between the pixels of x and around them; negative padding crops."""
    config = [(0, 0, 0), *((low, high, d - 1) for (low, high), d in zip(padding, dilation, strict=True)), (0, 0, 0)]
    return lax.pad(x, jnp.zeros((), x.dtype), config) if any(any(c) for c in config) else x


def _shifted(
    image: jax.Array, kernel_size: Sequence[int], counts: Sequence[int], strides: Pair, dilation: Pair
) -> Iterator[tuple[int, int, jax.Array]]:
    """(row, column, the input pixels under this tap: [N, H', W', C]) for every tap of the kernel."""
    n, _, _, channels = image.shape
    for k in range(kernel_size[0]):
        for j in range(kernel_size[1]):
            top, left = k * dilation[0], j * dilation[1]
            bottom, right = top + (counts[0] - 1) * strides[0] + 1, left + (counts[1] - 1) * strides[1] + 1
            yield k, j, lax.slice(image, (0, top, left, 0), (n, bottom, right, channels), (1, *strides, 1))
