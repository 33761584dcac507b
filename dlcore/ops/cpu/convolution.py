"""How a CPU convolves and differentiates convolutions: the rules behind `dlcore.ops.conv_general_dilated`.

    dx = conv(dy with s - 1 zeros between its pixels, w flipped in space, its channels swapped), dilation r
    dw = conv(x with channels as batch, dy as the kernel), stride r, dilation s

XLA:CPU moves convolutions into its fast layout in the entry computation only. Inside a `scan` or `while` body the
gradients that JAX writes (in transposed dimension numbers) take a naive path, 40 to 100 times slower. The backward pass
is therefore written as NHWC/HWIO convolutions of transposed operands, which are fast anywhere.

    depthwise     as many groups as channels: a sum of multiplied shifted images, `dlcore.ops.cpu.depthwise`
    phases        an input with gaps between its pixels (a transposed convolution, and the gradient by the input of a
                  strided one): as many kernels as a gap has phases, without the zeros, `dlcore.ops.cpu.phases`
    images        sequences and volumes are convolved as images, `dlcore.ops.cpu.images`

The kernel's gradient sums over images. On one CPU device it goes through them in blocks that fit into the cache, in a
loop, which takes half the time: of a whole batch XLA would compute the activation before the convolution once more,
pixel by pixel in the transposed order, where each read misses the cache. A program of several devices has no such loop:
each turn would sum over the devices.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dlcore.ops.convolution_window import Window, equally_varying, lax_conv, transpose
from dlcore.ops.cpu.depthwise import MAX_DEPTHWISE_TAPS, depthwise_conv, depthwise_kernel_gradient, depthwise_transpose
from dlcore.ops.cpu.images import conv_by_images
from dlcore.ops.cpu.phases import conv_by_phases
from dlcore.ops.precision import acc_dtype_of

__all__: list[str] = []

Convolve = Callable[[jax.Array, jax.Array, Window], jax.Array]
Rule = Callable[[jax.Array, jax.Array], jax.Array]


def forward(convolve: Convolve, window: Window, lhs: Any, rhs: Any) -> Rule | None:
    """Choose how a CPU computes a convolution.

    Args:
      convolve: (lhs, rhs, window) -> the convolution, differentiable, on any platform.
      window: strides, padding, dilations and groups.
      lhs: input, or its shape and dtype.
      rhs: kernel, or its shape and dtype.

    Returns:
      A function (lhs, rhs) -> convolution, or None where XLA's own is the best.
    """
    if len(lhs.shape) != 4:
        return functools.partial(_by_images, convolve, window)
    if _is_depthwise(window, lhs, rhs):
        return functools.partial(_with_window, depthwise_conv, window, window.preferred_element_type or lhs.dtype)
    return functools.partial(_by_phases, window) if _has_phases(window, lhs, rhs) else None


def lhs_gradient(convolve: Convolve, window: Window, lhs: jax.ShapeDtypeStruct, rhs: Any) -> Rule:
    """Choose how a CPU computes the gradient by the input.

    Args:
      convolve: (lhs, rhs, window) -> the convolution, differentiable, on any platform.
      window: window of the convolution.
      lhs: shape and dtype of the input.
      rhs: kernel, or its shape and dtype.

    Returns:
      A function (kernel, cotangent of the output) -> gradient.
    """
    if len(lhs.shape) != 4:
        by_images = functools.partial(_by_images, convolve, window)
        return lambda rhs, cotangent: transpose(lambda x: by_images(x, rhs), lhs, cotangent)
    if _is_depthwise(window, lhs, rhs):
        return functools.partial(_depthwise_lhs_gradient, window, lhs)
    return functools.partial(_canonical_lhs_gradient, convolve, window, lhs)


def rhs_gradient(convolve: Convolve, window: Window, rhs: jax.ShapeDtypeStruct, lhs: Any) -> Rule:
    """Choose how a CPU computes the gradient by the kernel.

    Args:
      convolve: (lhs, rhs, window) -> the convolution, differentiable, on any platform.
      window: window of the convolution.
      rhs: shape and dtype of the kernel.
      lhs: input, or its shape and dtype.

    Returns:
      A function (input, cotangent of the output) -> gradient.
    """
    if len(rhs.shape) != 4:
        by_images = functools.partial(_by_images, convolve, window)
        return lambda lhs, cotangent: transpose(lambda w: by_images(lhs, w), rhs, cotangent)
    if _is_depthwise(window, lhs, rhs):
        return functools.partial(_depthwise_rhs_gradient, window, rhs)
    return functools.partial(_canonical_rhs_gradient, convolve, window, rhs)


def _by_images(convolve: Convolve, window: Window, lhs: jax.Array, rhs: jax.Array) -> jax.Array:
    """Convolve sequences or volumes by the convolution of images, in at least float32."""
    dtype = window.preferred_element_type or lhs.dtype
    acc_dtype = acc_dtype_of(lhs.dtype, dtype)

    def convolve_images(x: jax.Array, kernel: jax.Array, *numbers: Any) -> jax.Array:
        strides, padding, lhs_dilation, rhs_dilation = numbers
        images = Window(strides, padding, lhs_dilation, rhs_dilation, window.groups, window.precision, None)
        return convolve(x, kernel, images)

    numbers = window.strides, window.padding, window.lhs_dilation, window.rhs_dilation, window.groups
    return conv_by_images(convolve_images, lhs.astype(acc_dtype), rhs.astype(acc_dtype), *numbers).astype(dtype)


def _is_depthwise(window: Window, lhs: Any, rhs: Any) -> bool:
    """Return whether every channel has kernels of its own, few enough of taps; malformed shapes are left to lax."""
    kh, kw, depth, features = rhs.shape
    channels = lhs.shape[3]
    fits = window.groups == channels > 1 and depth == 1 and features % channels == 0 and features > 0
    return fits and 0 < kh * kw <= MAX_DEPTHWISE_TAPS


def _with_window(function: Any, window: Window, dtype: Any, *arguments: Any) -> jax.Array:
    return function(
        *arguments, window.strides, window.padding, window.lhs_dilation, window.rhs_dilation, jnp.dtype(dtype)
    )


def _depthwise_lhs_gradient(window: Window, lhs: Any, rhs: jax.Array, cotangent: jax.Array) -> jax.Array:
    return _with_window(depthwise_transpose, window, lhs.dtype, cotangent, rhs, lhs.shape)


def _depthwise_rhs_gradient(window: Window, rhs: Any, lhs: jax.Array, cotangent: jax.Array) -> jax.Array:
    return _with_window(depthwise_kernel_gradient, window, rhs.dtype, lhs, cotangent, rhs.shape)


def _has_phases(window: Window, lhs: Any, rhs: Any) -> bool:
    """Whether the input has gaps of zeros between its pixels, and nothing else that `conv_by_phases` does not know."""
    plain = window.groups == window.rhs_dilation[0] == window.rhs_dilation[1] == 1 and window.strides == (1, 1)
    return plain and max(window.lhs_dilation) > 1 and 0 not in lhs.shape and 0 not in rhs.shape


def _by_phases(window: Window, lhs: jax.Array, rhs: jax.Array) -> jax.Array:
    def convolve(x: jax.Array, kernel: jax.Array, padding: tuple, counts: Sequence[int]) -> jax.Array:
        if 0 in kernel.shape or 0 in x.shape:
            zeros = jnp.zeros((x.shape[0], *counts, kernel.shape[3]), window.preferred_element_type or x.dtype)
            return equally_varying(zeros, lhs)[0]
        return lax_conv(window._replace(lhs_dilation=(1, 1), padding=padding), x, kernel)

    return conv_by_phases(convolve, lhs, rhs, window.padding, window.lhs_dilation)


def _dilated(sizes: Sequence[int], dilation: Sequence[int]) -> np.ndarray:
    return np.array([(n - 1) * d + 1 if n else 0 for n, d in zip(sizes, dilation, strict=True)])


def _pairs(low: np.ndarray, high: np.ndarray) -> tuple[tuple[int, int], tuple[int, int]]:
    rows, columns = ((int(a), int(b)) for a, b in zip(low, high, strict=True))
    return rows, columns


def _canonical_lhs_gradient(
    convolve: Convolve, window: Window, lhs: jax.ShapeDtypeStruct, rhs: jax.Array, cotangent: jax.Array
) -> jax.Array:
    kernel = _dilated(rhs.shape[:2], window.rhs_dilation)
    low = kernel - 1 - np.array([p[0] for p in window.padding])
    grown = _dilated(cotangent.shape[1:3], window.strides)
    high = _dilated(lhs.shape[1:3], window.lhs_dilation) + kernel - 1 - grown - low
    kh, kw, c, features = rhs.shape
    flipped = jnp.flip(rhs, (0, 1)).reshape(kh, kw, c, window.groups, features // window.groups)
    flipped = flipped.transpose(0, 1, 4, 3, 2).reshape(kh, kw, features // window.groups, window.groups * c)
    swapped = window._replace(strides=window.lhs_dilation, padding=_pairs(low, high), lhs_dilation=window.strides)
    return convolve(cotangent, flipped.astype(cotangent.dtype), swapped).astype(lhs.dtype)


BLOCK_BYTES, BLOCK_IMAGES, HALF_IMAGES = 2**19, 16, 4
"""Least size of a block of input and cotangent whose kernel gradient is computed at a time; least images in it, and in
each of two halves. Measured on two cores, maps of 8 x 8 to 128 x 128: smaller ones are slower than the whole batch."""


def _num_blocks(lhs: jax.Array, cotangent: jax.Array) -> int:
    """Equal blocks of images to sum a kernel's gradient over: the most that are large enough; 1 on several devices."""
    if jax.device_count() > 1:
        return 1
    size = (lhs.size + cotangent.size) * cotangent.dtype.itemsize // 2
    images = max(len(lhs) // BLOCK_IMAGES, min(2, len(lhs) // HALF_IMAGES))
    most = min(size // BLOCK_BYTES, images)
    return max((k for k in range(2, most + 1) if len(lhs) % k == 0), default=1)


def _canonical_rhs_gradient(
    convolve: Convolve, window: Window, rhs: jax.ShapeDtypeStruct, lhs: jax.Array, cotangent: jax.Array
) -> jax.Array:
    blocks = _num_blocks(lhs, cotangent)
    if blocks == 1:
        return _block_rhs_gradient(convolve, window, rhs, lhs, cotangent).astype(rhs.dtype)
    lhs, cotangent = (x.reshape(-1, blocks, *x.shape[1:]) for x in (lhs, cotangent))

    def add(i, total):
        block = (lax.dynamic_index_in_dim(x, i, 1, keepdims=False) for x in (lhs, cotangent))
        return total + _block_rhs_gradient(convolve, window, rhs, *block)

    acc_dtype = acc_dtype_of(rhs, cotangent)
    zeros, _ = equally_varying(jnp.zeros(rhs.shape, acc_dtype), cotangent)
    return lax.fori_loop(0, blocks, add, zeros).astype(rhs.dtype)


def _block_rhs_gradient(
    convolve: Convolve, window: Window, rhs: jax.ShapeDtypeStruct, lhs: jax.Array, cotangent: jax.Array
) -> jax.Array:
    if max(window.lhs_dilation) > 1 and window.strides == (1, 1) and window.groups == 1:
        return _transposed_rhs_gradient(convolve, window, rhs, lhs, cotangent)
    low = np.array([p[0] for p in window.padding])
    grown = _dilated(cotangent.shape[1:3], window.strides)
    kernel = _dilated(rhs.shape[:2], window.rhs_dilation)
    high = kernel + grown - 1 - _dilated(lhs.shape[1:3], window.lhs_dilation) - low
    n, h, w, channels = lhs.shape
    images = lhs.astype(cotangent.dtype).reshape(n, h, w, window.groups, channels // window.groups)
    images = images.transpose(4, 1, 2, 3, 0).reshape(channels // window.groups, h, w, window.groups * n)
    swapped = window._replace(strides=window.rhs_dilation, padding=_pairs(low, high), rhs_dilation=window.strides)
    gradient = convolve(images, cotangent.transpose(1, 2, 0, 3), swapped)
    return gradient.transpose(1, 2, 0, 3)


def _transposed_rhs_gradient(
    convolve: Convolve, window: Window, rhs: jax.ShapeDtypeStruct, lhs: jax.Array, cotangent: jax.Array
) -> jax.Array:
    """Kernel gradient of a transposed convolution: slide the dilated input over the cotangent, without inserted zeros.

    dw[K - 1 - k] = sum_q x[q] g[d q + r k - (r (K - 1) - l)]               d, r dilations of input and kernel
    """
    kernel = _dilated(rhs.shape[:2], window.rhs_dilation)
    low = kernel - 1 - np.array([p[0] for p in window.padding])
    high = kernel + _dilated(lhs.shape[1:3], window.lhs_dilation) - 1 - low - np.array(cotangent.shape[1:3])
    swapped = window._replace(
        strides=window.rhs_dilation, padding=_pairs(low, high), lhs_dilation=(1, 1), rhs_dilation=window.lhs_dilation
    )
    images = lhs.astype(cotangent.dtype).transpose(1, 2, 0, 3)
    gradient = convolve(cotangent.transpose(3, 1, 2, 0), images, swapped)
    return jnp.flip(gradient, (1, 2)).transpose(1, 2, 3, 0)
