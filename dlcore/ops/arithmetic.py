"""What a convolution layer makes and costs, in numbers: output sizes, parameters, multiply-adds, receptive fields.

Dumoulin & Visin, "A guide to convolution arithmetic for deep learning" (2016), arXiv:1603.07285.

    output             (W - K' + 2 P) / S + 1                          K' = D (K - 1) + 1, the kernel with its gaps
    transposed         (W - 1) S - 2 P + K' + output padding           undoes the sizes of the above
    padding that keeps (K' - 1) / 2
    parameters         K K C_in / G C_out + C_out
    multiply-adds      H' W' K K C_in / G C_out                        FLOPs are twice as many
    receptive field    R_l = R_{l-1} + (K'_l - 1) S_1 ... S_{l-1},  R_0 = 1

All numbers are ints; a `kernel` of several numbers is one of several axes.
"""

import math
from collections.abc import Sequence

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


def effective_kernel_size(kernel: int, dilation: int = 1) -> int:
    """How far a kernel reaches with its gaps: dilation (kernel - 1) + 1; its parameters stay the same."""
    _at_least("kernel", kernel, 1)
    _at_least("dilation", dilation, 1)
    return dilation * (kernel - 1) + 1


def conv_output_size(
    size: int,
    kernel: int,
    stride: int = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int = 1,
    exact: bool = False,
) -> int:
    """Pixels along one axis after a convolution or a pooling: (size - K' + low + high) / stride + 1.

    padding: on both sides, or (low, high). The division is rounded down, as frameworks do, so pixels at the end may go
    unseen; with `exact` that is an error.

    Raises: ValueError for arguments out of range, a kernel larger than the padded input, or a division that leaves a
    rest under `exact`.
    """
    _at_least("size", size, 1)
    _at_least("stride", stride, 1)
    low, high = (padding, padding) if isinstance(padding, int) else padding
    _at_least("padding", min(low, high), 0)
    free = size + low + high - effective_kernel_size(kernel, dilation)
    if free < 0:
        raise ValueError(f"kernel is {kernel} with dilation {dilation}: it does not fit in {size + low + high} pixels")
    if exact and free % stride:
        raise ValueError(
            f"stride is {stride}: ({size} - {effective_kernel_size(kernel, dilation)} + {low + high}) / {stride} + 1 = "
            f"{free / stride + 1:.2f} is not a whole number; allowed are divisors of {free}"
        )
    return free // stride + 1


def conv_transpose_output_size(
    size: int, kernel: int, stride: int = 1, padding: int = 0, output_padding: int = 0, dilation: int = 1
) -> int:
    """Pixels along one axis after a transposed convolution: (size - 1) stride - 2 padding + K' + output_padding.

    Raises: ValueError for arguments out of range or where nothing is left.
    """
    _at_least("size", size, 1)
    _at_least("stride", stride, 1)
    _at_least("padding", padding, 0)
    if not 0 <= output_padding < max(stride, dilation):
        raise ValueError(
            f"output_padding is {output_padding}; it must be from 0 to {max(stride, dilation) - 1}, below the larger "
            "of stride and dilation"
        )
    out = (size - 1) * stride - 2 * padding + effective_kernel_size(kernel, dilation) + output_padding
    if out < 1:
        raise ValueError(f"padding is {padding}: {out} pixels would be left of {size}")
    return out


def same_padding(kernel: int, dilation: int = 1) -> int:
    """The padding (K' - 1) / 2 that keeps the size at stride 1: 1 for 3, 2 for 5.

    Raises: ValueError for an even reach, which no equal padding of both sides keeps.
    """
    reach = effective_kernel_size(kernel, dilation)
    if reach % 2 == 0:
        raise ValueError(f"kernel is {kernel} with dilation {dilation}: the padding {(reach - 1) / 2} is not whole")
    return (reach - 1) // 2


def conv_parameters(channels: int, features: int, kernel: Sizes, groups: int = 1, bias: bool = True) -> int:
    """Weights and biases of a convolution; one number as `kernel` stands for a square.

    Raises: ValueError where groups do not divide channels and features, or for numbers below 1.
    """
    for name, value in (("channels", channels), ("features", features), ("groups", groups)):
        _at_least(name, value, 1)
    if channels % groups or features % groups:
        raise ValueError(f"groups is {groups}: it must divide channels ({channels}) and features ({features})")
    return _area("kernel", kernel) * (channels // groups) * features + (features if bias else 0)


def conv_macs(out_size: Sizes, channels: int, features: int, kernel: Sizes, groups: int = 1) -> int:
    """Multiply-adds of a convolution for one image; out_size: (H', W'), or one number for a square."""
    return _area("out_size", out_size) * conv_parameters(channels, features, kernel, groups, bias=False)


def receptive_field(kernels: Sequence[int], strides: Sequence[int] | None = None) -> int:
    """Input pixels along one axis that a pixel sees after convolutions or poolings, the first layer first.

    kernels: sizes, with their gaps where dilated. strides: ones by default.
    Raises: ValueError where the two differ in length or hold numbers below 1.
    """
    strides = [1] * len(kernels) if strides is None else list(strides)
    if len(strides) != len(kernels):
        raise ValueError(f"strides has {len(strides)} numbers; it must have {len(kernels)}, as kernels")
    field, jump = 1, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        _at_least("kernels", kernel, 1)
        _at_least("strides", stride, 1)
        field += (kernel - 1) * jump
        jump *= stride
    return field


def _area(name: str, sizes: Sizes) -> int:
    sizes = (sizes, sizes) if isinstance(sizes, int) else tuple(sizes)
    for size in sizes:
        _at_least(name, size, 1)
    return math.prod(sizes)


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"{name} is {value}; it must be at least {least}")
