"""Transposed convolution: every input value stamps the kernel, times itself, onto the output.

Zeiler et al., "Deconvolutional networks" (2010); Dumoulin & Visin (2016), arXiv:1603.07285, chapter 4.

    y[s p + r k - l, o] += sum_c x[p, c] w[k, o, c]          stride s, dilation r, low padding l

With A the matrix of a convolution this multiplies by A' (not by its inverse, as it is sometimes written), so its
kernel is that convolution's, [kh, kw, O, C]: C, what goes in here, comes out there. Other names are up-convolution and
fractionally strided convolution.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from dlcore.ops.arithmetic import conv_transpose_output_size, effective_kernel_size
from dlcore.ops.convolution import conv_general_dilated

__all__ = ["conv_transpose"]

_LAYOUTS = {1: ("NHC", "HIO", "NHC"), 2: ("NHWC", "HWIO", "NHWC"), 3: ("NDHWC", "DHWIO", "NDHWC")}


def conv_transpose(
    x: jax.Array,
    kernel: jax.Array,
    strides: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = 0,
    output_padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> jax.Array:
    """x: [N, H, W, C], kernel: [kh, kw, O / groups, C] -> [N, H', W', O]; one, two or three spatial axes.

    Arguments are torch's (whose weight [C, O / groups, kh, kw] is transposed to (2, 3, 1, 0)), and so is the size,
    H' = (H - 1) stride - 2 padding + dilation (kh - 1) + 1 + output_padding. padding takes pixels off both sides of the
    output; "VALID" is 0, and "SAME" gives H' = H stride, as for flax's ConvTranspose.

    Raises: ValueError for shapes and numbers that do not fit.
    """
    n = x.ndim - 2
    if n not in _LAYOUTS:
        raise ValueError(f"x has shape {x.shape}; it must be [N, ..., C] with one, two or three spatial axes")
    if kernel.ndim != x.ndim or kernel.shape[-1] != x.shape[-1]:
        raise ValueError(
            f"kernel has shape {kernel.shape}; with x {x.shape} it must be [..., O / groups, {x.shape[-1]}]"
        )
    if groups < 1 or x.shape[-1] % groups:
        raise ValueError(f"groups is {groups}; it must divide the {x.shape[-1]} channels of x")
    strides, dilation, output_padding = (
        (v,) * n if isinstance(v, int) else tuple(v) for v in (strides, dilation, output_padding)
    )
    for name, v in (("strides", strides), ("dilation", dilation), ("output_padding", output_padding)):
        if len(v) != n:
            raise ValueError(f"{name} is {v}; it must be one number, or {n} of them")
    if isinstance(padding, str):
        cuts = _named_cuts(padding, kernel.shape[:n], strides, dilation)
    else:
        padding = (padding,) * n if isinstance(padding, int) else tuple(padding)
        if len(padding) != n:
            raise ValueError(f"padding is {padding}; it must be one number, or {n} of them")
        for arguments in zip(x.shape[1:-1], kernel.shape, strides, padding, output_padding, dilation, strict=False):
            conv_transpose_output_size(*arguments)
        cuts = [(p, p) for p in padding]
    pads = []
    for k, d, (low, high), more in zip(kernel.shape, dilation, cuts, output_padding, strict=False):
        reach = effective_kernel_size(k, d)
        pads.append((reach - 1 - low, reach - 1 - high + more))
    features = kernel.shape[-2]
    flipped = jnp.flip(kernel, tuple(range(n))).reshape(*kernel.shape[:n], features, groups, -1)
    flipped = jnp.swapaxes(flipped, -1, -3).reshape(*kernel.shape[:n], -1, groups * features)
    return conv_general_dilated(x, flipped, (1,) * n, pads, strides, dilation, _LAYOUTS[n], feature_group_count=groups)


def _named_cuts(padding: str, kernel: Sequence[int], strides: Sequence[int], dilation: Sequence[int]) -> list:
    """(low, high) pixels that a named padding takes off; a negative number adds some."""
    if padding.upper() == "VALID":
        return [(0, 0)] * len(kernel)
    if padding.upper() != "SAME":
        raise ValueError(f'padding is {padding!r}; it must be "SAME", "VALID" or numbers')
    surplus = [effective_kernel_size(k, d) - s for k, s, d in zip(kernel, strides, dilation, strict=True)]
    return [(v // 2, v - v // 2) for v in surplus]
