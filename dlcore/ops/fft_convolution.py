"""Convolution as a product of spectra.

Mathieu, Henaff & LeCun, "Fast training of convolutional networks through FFTs" (2013), arXiv:1312.5851.

    y = F^-1 ( sum_c F(x)[c] conj(F(w)[c, o]) )       conj: a layer's convolution is a correlation

Transforms are as long as the padded input, rounded up to a product of 2, 3 and 5: windows inside the input do not wrap
around. The cost does not depend on the kernel's size: it pays for large kernels, and for small ones the transforms
cost more than they save.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from dlcore.ops.im2col import Padding, check_operands, pads_of, pair_of, window_counts
from dlcore.ops.precision import acc_dtype_of

__all__ = ["conv_fft"]


def conv_fft(
    x: jax.Array, kernel: jax.Array, strides: int | Sequence[int] = 1, padding: Padding = "VALID"
) -> jax.Array:
    """Convolve through Fourier transforms in float32 or float64.

    Args:
      x: [N, H, W, C].
      kernel: [kh, kw, C, O].
      strides: step between neighboring windows, one number or (rows, columns); the cost is that of stride 1.
      padding: "SAME", "VALID", one number for all sides, or a number or (low, high) pair for each axis.

    Returns:
      [N, H', W', O], with the dtype of the operands.
    """
    check_operands(x, kernel)
    strides, size = pair_of("strides", strides), kernel.shape[:2]
    pads = pads_of(padding, x.shape[1:3], size, strides, (1, 1))
    counts = window_counts(x.shape[1:3], size, strides, pads, (1, 1))
    dtype = jnp.result_type(x, kernel)
    acc_dtype = acc_dtype_of(dtype)
    x = jnp.pad(x.astype(acc_dtype), ((0, 0), *pads, (0, 0)))
    length = [_smooth(n) for n in x.shape[1:3]]
    image = jnp.fft.rfft2(x, length, (1, 2))
    weight = jnp.fft.rfft2(kernel.astype(acc_dtype), length, (0, 1))
    spectrum = jnp.einsum("nhwc,hwco->nhwo", image, weight.conj(), precision=lax.Precision.HIGHEST)
    full = jnp.fft.irfft2(spectrum, length, (1, 2))
    stop = [(count - 1) * s + 1 for count, s in zip(counts, strides, strict=True)]
    full = full if jnp.issubdtype(dtype, jnp.inexact) else jnp.round(full)
    return full[:, : stop[0] : strides[0], : stop[1] : strides[1]].astype(dtype)


def _smooth(n: int) -> int:
    """Return the smallest product of 2, 3 and 5 that is at least n: lengths that transform fast."""
    while True:
        rest = n
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return n
        n += 1
