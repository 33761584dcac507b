"""Arithmetic of convolution layers: output sizes, parameters, multiply-adds, receptive fields.

Dumoulin & Visin, "A guide to convolution arithmetic for deep learning" (2016), arXiv:1603.07285.

    output             (W - K' + 2 P) / S + 1                          K' = D (K - 1) + 1, the dilated kernel's extent
    transposed         (W - 1) S - 2 P + K' + output padding           inverts the output size above
    same padding       (K' - 1) / 2
    parameters         K K C_in / G C_out + C_out
    multiply-adds      H' W' K K C_in / G C_out                        FLOPs are twice as many
    receptive field    R_l = R_{l-1} + (K'_l - 1) S_1 ... S_{l-1},  R_0 = 1

All numbers are ints. A `kernel_size` of several numbers has one for each axis.
"""

import math
from collections.abc import Sequence

import numpy as np

from dlcore.choices import check_whole_number, is_whole_number
from dlcore.ops.checks import check_shapes

__all__ = [
    "conv_macs",
    "conv_output_size",
    "conv_parameters",
    "conv_transpose_output_size",
    "effective_kernel_size",
    "receptive_field",
    "same_padding",
]

Sizes = int | Sequence[int]


def effective_kernel_size(kernel_size: int, dilation: int = 1) -> int:
    """Extent of a dilated kernel: dilation (kernel_size - 1) + 1. Its number of parameters does not change.

    Args:
      kernel_size: taps along one axis, at least 1.
      dilation: distance between neighboring taps in pixels, at least 1.

    Returns:
      Pixels from the first tap to the last, both included.
    """
    check_shapes(kernel_size=(kernel_size, "int >= 1"), dilation=(dilation, "int >= 1"))
    return dilation * (kernel_size - 1) + 1


def conv_output_size(
    size: int,
    kernel_size: int,
    stride: int = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int = 1,
    exact: bool = False,
) -> int:
    """Output pixels along one axis of a convolution or a pooling: (size - K' + low + high) / stride + 1.

    Args:
      size: input pixels, at least 1.
      kernel_size: taps of the kernel or pooling window.
      stride: step between neighboring windows in pixels.
      padding: pixels added on each side, or (low, high).
      dilation: distance between neighboring taps in pixels.
      exact: raise an error where the division leaves a remainder. Otherwise it is rounded down, as frameworks do, and
        the last pixels may be in no window.

    Returns:
      Output pixels, at least 1.
    """
    low, high = padding if isinstance(padding, Sequence | np.ndarray) and len(padding) == 2 else (padding, padding)
    check_shapes(size=(size, "int >= 1"), stride=(stride, "int >= 1"), padding=(low, "int >= 0"))
    check_shapes(padding=(high, "int >= 0"))
    free = size + low + high - effective_kernel_size(kernel_size, dilation)
    if free < 0:
        raise ValueError(f"{kernel_size=}, {dilation=}: larger than the padded input; allowed: {size + low + high}")
    if exact and free % stride:
        raise ValueError(f"{stride=}: {free / stride + 1:.2f} is not a whole number; allowed: divisors of {free}")
    return free // stride + 1


def conv_transpose_output_size(
    size: int, kernel_size: int, stride: int = 1, padding: int = 0, output_padding: int = 0, dilation: int = 1
) -> int:
    """Output pixels along one axis of a transposed convolution: (size - 1) stride - 2 padding + K' + output_padding.

    Args:
      size: input pixels, at least 1.
      kernel_size: taps of the kernel.
      stride: step between neighboring stamps of the kernel in output pixels.
      padding: output pixels removed on each side.
      output_padding: pixels added at the end, below the larger of stride and dilation.
      dilation: distance between neighboring taps in pixels.

    Returns:
      Output pixels, at least 1.
    """
    check_shapes(size=(size, "int >= 1"), stride=(stride, "int >= 1"), padding=(padding, "int >= 0"))
    check_shapes(dilation=(dilation, "int >= 1"), output_padding=(output_padding, "int >= 0"))
    if output_padding >= max(stride, dilation):
        raise ValueError(f"{output_padding=}: out of range; allowed: 0 to {max(stride, dilation) - 1}")
    out = (size - 1) * stride - 2 * padding + effective_kernel_size(kernel_size, dilation) + output_padding
    if out < 1:
        raise ValueError(f"{padding=}: removes all of the output; allowed: at most {(out + 2 * padding - 1) // 2}")
    return out


def same_padding(kernel_size: int, dilation: int = 1) -> int:
    """Padding on each side that keeps the size at stride 1, (K' - 1) / 2: 1 for a kernel of 3, 2 for 5.

    Args:
      kernel_size: taps of the kernel along one axis.
      dilation: distance between neighboring taps in pixels.

    Returns:
      Pixels of padding on each side.
    """
    extent = effective_kernel_size(kernel_size, dilation)
    if extent % 2 == 0:
        raise ValueError(f"{kernel_size=}: padding {(extent - 1) / 2} is not whole; allowed: odd extents")
    return (extent - 1) // 2


def conv_parameters(channels: int, features: int, kernel_size: Sizes, groups: int = 1, bias: bool = True) -> int:
    """Number of weights and biases of a convolution.

    Args:
      channels: input channels.
      features: output channels.
      kernel_size: taps along each axis; a single number stands for a square kernel.
      groups: groups of channels that are convolved separately; `channels` of them make it depthwise.
      bias: count one bias for each output channel.

    Returns:
      The number of parameters.
    """
    check_shapes(channels=(channels, "int >= 1"), features=(features, "int >= 1"), groups=(groups, "int >= 1"))
    if channels % groups or features % groups:
        raise ValueError(f"{groups=}: not a divisor; allowed: common divisors of {channels=} and {features=}")
    return _area("kernel_size", kernel_size) * (channels // groups) * features + (features if bias else 0)


def conv_macs(out_size: Sizes, channels: int, features: int, kernel_size: Sizes, groups: int = 1) -> int:
    """Multiply-adds of a convolution for one image.

    Args:
      out_size: (H', W') of the output; a single number stands for a square.
      channels: input channels.
      features: output channels.
      kernel_size: taps along each axis; a single number stands for a square kernel.
      groups: groups of channels that are convolved separately.

    Returns:
      The number of multiply-adds; FLOPs are twice as many.
    """
    axes, kernel_axes = (2 if is_whole_number(v) else np.size(v) for v in (out_size, kernel_size))
    if axes != kernel_axes:
        raise ValueError(f"kernel_size={kernel_size}: for {axes} axes of out_size={out_size}; allowed: one for each")
    return _area("out_size", out_size) * conv_parameters(channels, features, kernel_size, groups, bias=False)


def receptive_field(kernel_sizes: Sequence[int], strides: Sequence[int] | None = None) -> int:
    """Input pixels along one axis that an output pixel depends on after a stack of convolutions or poolings.

    Args:
      kernel_sizes: kernel sizes of each layer, the first layer first; effective sizes where kernels are dilated.
      strides: strides of each layer; None means all 1.

    Returns:
      Extent of the receptive field in input pixels; 1 without layers.
    """
    if np.ndim(kernel_sizes) != 1:
        raise ValueError(f"kernel_sizes={kernel_sizes}: no sequence; allowed: one number for each layer")
    strides = [1] * len(kernel_sizes) if strides is None else list(strides)
    if len(strides) != len(kernel_sizes):
        raise ValueError(f"{strides=}: {len(strides)} numbers; allowed: {len(kernel_sizes)}, one for each layer")
    field, jump = 1, 1
    for kernel_size, stride in zip(kernel_sizes, strides, strict=True):
        check_shapes(kernel_sizes=(kernel_size, "int >= 1"), strides=(stride, "int >= 1"))
        field += (kernel_size - 1) * jump
        jump *= stride
    return field


def _area(name: str, sizes: Sizes) -> int:
    sizes = tuple(sizes) if isinstance(sizes, Sequence | np.ndarray) else (sizes, sizes)
    if not sizes:
        raise ValueError(f"{name}={sizes}: no axis; allowed: one number, or one for each axis")
    for size in sizes:
        check_whole_number(name, size, 1)
    return math.prod(sizes)
