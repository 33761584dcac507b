"""Convolution of sequences and volumes by convolutions of images: what XLA is fast at on a CPU.

    sequence:  y[n, p, o] is a convolution of images of one row
    volume:    y[n, d] = sum_k conv(x[n, s d + r k - l], w[k])       stride s, dilation r, low padding l of the depth

All planes of a volume are one batch of images. Without groups the planes below each other are joined along the channels
first, and one convolution with the kernels joined in the same way adds over k. Gaps between the planes (a transposed
convolution) are not filled with zeros: every plane is convolved with all w[k], and the results are added where they
belong. XLA's own 3-D convolution takes two to four times as long, forward and backward, and its gradients far longer in
loops (`experiments.bench.conv_ranks`).
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax

__all__: list[str] = []

Convolve2D = Callable[[jax.Array, jax.Array, tuple, tuple, tuple, tuple], jax.Array]
"""(x, kernel, strides, padding, lhs_dilation, rhs_dilation) -> y, with two numbers or pairs each."""


def conv_by_images(
    convolve: Convolve2D,
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int],
    rhs_dilation: Sequence[int],
    groups: int,
) -> jax.Array:
    """Convolve sequences or volumes; linear in x and in the kernel, and differentiable if `convolve` is.

    Args:
      convolve: the convolution of images [N, H, W, C] with kernels [kh, kw, C / groups, O].
      x: sequences [N, W, C] or volumes [N, D, H, W, C]; one window or more fits.
      kernel: [kw, C / groups, O] or [kd, kh, kw, C / groups, O].
      strides: steps between neighboring windows.
      padding: zeros (before, after) each axis; negative numbers crop.
      lhs_dilation: distances between neighboring pixels of x after zeros are inserted.
      rhs_dilation: distances between neighboring taps of the kernel.
      groups: groups of channels that `convolve` treats separately.

    Returns:
      [N, W', O] or [N, D', H', W', O].
    """
    if x.ndim == 3:
        window = (1, *strides), ((0, 0), *padding), (1, *lhs_dilation), (1, *rhs_dilation)
        return convolve(x[:, None], kernel[None], *window)[:, 0]
    in_plane = tuple(strides[1:]), tuple(padding[1:]), tuple(lhs_dilation[1:]), tuple(rhs_dilation[1:])

    def convolve_planes(x: jax.Array, kernel: jax.Array) -> jax.Array:
        y = convolve(x.reshape(-1, *x.shape[2:]), kernel, *in_plane)
        return y.reshape(*x.shape[:2], *y.shape[1:])

    along_depth = strides[0], padding[0], lhs_dilation[0], rhs_dilation[0]
    has_gaps = lhs_dilation[0] > 1 and strides[0] == 1
    return (_scatter if has_gaps else _gather)(convolve_planes, x, kernel, *along_depth, groups)


def _gather(convolve_planes, x, kernel, stride, padding, lhs_dilation, rhs_dilation, groups):
    """Add over the planes that a window sees."""
    low, high = padding
    x = _pad_depth(x, low, high, lhs_dilation - 1)
    count = (x.shape[1] - (len(kernel) - 1) * rhs_dilation - 1) // stride + 1
    starts = [k * rhs_dilation for k in range(len(kernel))]
    planes = [lax.slice_in_dim(x, start, start + (count - 1) * stride + 1, stride, 1) for start in starts]
    if groups > 1:
        return jnp.asarray(sum(convolve_planes(plane, taps) for plane, taps in zip(planes, kernel, strict=True)))
    joined = kernel.transpose(1, 2, 0, 3, 4).reshape(*kernel.shape[1:3], -1, kernel.shape[-1])  # [kh, kw, kd C, O]
    return convolve_planes(jnp.concatenate(planes, -1), joined)


def _scatter(convolve_planes, x, kernel, stride, padding, lhs_dilation, rhs_dilation, groups):
    """Add what each plane gives to the windows that see it: to y[d p + l - r k] of plane p by w[k]."""
    if groups > 1:
        parts = [convolve_planes(x, taps) for taps in kernel]
    else:
        joined = jnp.concatenate(list(kernel), -1)  # [kh, kw, C, kd O]
        parts = jnp.split(convolve_planes(x, joined), len(kernel), -1)
    last = (x.shape[1] - 1) * lhs_dilation
    size = last + 1 + sum(padding) - (len(kernel) - 1) * rhs_dilation
    starts = [padding[0] - k * rhs_dilation for k in range(len(kernel))]
    padded = [
        _pad_depth(part, start, size - 1 - last - start, lhs_dilation - 1)
        for part, start in zip(parts, starts, strict=True)
    ]
    return jnp.asarray(sum(padded))


def _pad_depth(x: jax.Array, low: int, high: int, between: int) -> jax.Array:
    return lax.pad(x, jnp.zeros((), x.dtype), [(low, high, between) if i == 1 else (0, 0, 0) for i in range(x.ndim)])
