"""Transposed convolution: every input value adds the kernel, times itself, to the output.

Zeiler et al., "Deconvolutional networks" (2010); Dumoulin & Visin (2016), arXiv:1603.07285, chapter 4.

    y[s p + r k - l, o] += sum_c x[p, c] w[k, o, c]          stride s, dilation r, low padding l

With A the matrix of a convolution this multiplies by A' (not by its inverse, as is sometimes written). Its kernel is
that convolution's, [kh, kw, O, C]: its output channels C are the input channels here. Other names are up-convolution
and fractionally strided convolution.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_whole_number
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
    """Transposed convolution with torch's arguments, over one, two or three spatial axes.

    The output size is torch's: H' = (H - 1) stride - 2 padding + dilation (kh - 1) + 1 + output_padding.

    Args:
      x: [N, H, W, C].
      kernel: [kh, kw, O / groups, C]; torch's weight [C, O / groups, kh, kw] transposed to (2, 3, 1, 0).
      strides: step between the stamps of neighboring input pixels, one number or one for each axis.
      padding: pixels removed from both sides of the output; "VALID" is 0, and "SAME" gives H' = H stride, as flax's
        ConvTranspose does.
      output_padding: pixels added at the end, one number or one for each axis.
      dilation: distance between neighboring taps, one number or one for each axis.
      groups: groups of channels that are convolved separately.

    Returns:
      [N, H', W', O].
    """
    n = x.ndim - 2
    if n not in _LAYOUTS:
        raise ValueError(f"x.shape={x.shape}: wrong rank; allowed: [N, ..., C] with one, two or three spatial axes")
    if kernel.ndim != x.ndim or kernel.shape[-1] != x.shape[-1]:
        raise ValueError(f"{kernel.shape=}: does not fit; allowed: [..., O / groups, {x.shape[-1]}]")
    check_whole_number("groups", groups, 1)
    if x.shape[-1] % groups:
        raise ValueError(f"groups={groups}: not a divisor; allowed: divisors of the {x.shape[-1]} channels of x")
    strides, dilation, output_padding = (
        tuple(v) if isinstance(v, Sequence | np.ndarray) else (v,) * n for v in (strides, dilation, output_padding)
    )
    for name, v, least in (("strides", strides, 1), ("dilation", dilation, 1), ("output_padding", output_padding, 0)):
        if len(v) != n:
            raise ValueError(f"{name}={v}: does not fit {n} axes; allowed: one number, or {n} of them")
        for number in v:
            check_whole_number(name, number, least)
    if isinstance(padding, str):
        crops = _named_crops(padding, kernel.shape[:n], strides, dilation)
    else:
        padding = tuple(padding) if isinstance(padding, Sequence | np.ndarray) else (padding,) * n
        if len(padding) != n:
            raise ValueError(f"padding={padding}: does not fit {n} axes; allowed: one number, or {n} of them")
        for arguments in zip(x.shape[1:-1], kernel.shape[:n], strides, padding, output_padding, dilation, strict=True):
            conv_transpose_output_size(*arguments)
        crops = [(p, p) for p in padding]
    pads = []
    for k, d, (low, high), extra in zip(kernel.shape[:n], dilation, crops, output_padding, strict=True):
        extent = effective_kernel_size(k, d)
        pads.append((extent - 1 - low, extent - 1 - high + extra))
    features = kernel.shape[-2]
    flipped = jnp.flip(kernel, tuple(range(n))).reshape(*kernel.shape[:n], features, groups, -1)
    flipped = jnp.swapaxes(flipped, -1, -3).reshape(*kernel.shape[:n], -1, groups * features)
    return conv_general_dilated(x, flipped, (1,) * n, pads, strides, dilation, _LAYOUTS[n], feature_group_count=groups)


def _named_crops(padding: str, kernel: Sequence[int], strides: Sequence[int], dilation: Sequence[int]) -> list:
    """(low, high) pixels that a named padding removes; negative numbers add pixels."""
    if padding.upper() == "VALID":
        return [(0, 0)] * len(kernel)
    if padding.upper() != "SAME":
        raise ValueError(f"padding={padding!r}: unknown; allowed: SAME, VALID or numbers")
    surplus = [effective_kernel_size(k, d) - s for k, s, d in zip(kernel, strides, dilation, strict=True)]
    return [(v // 2, v - v // 2) for v in surplus]
