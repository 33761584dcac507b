"""The arithmetic of costs: what a layer or a design costs, from its numbers alone.

    convolution     C' (C / g) K K + C' parameters          C' H' W' (C / g) K K multiply-adds (MACs), FLOPs = 2 MACs
    dense           D D' + D' parameters                    D D' MACs a position
    receptive field R_k = 1 + sum_j (F_j - 1) prod_{i<j} S_i     F kernels, S strides; 1 + L (K - 1) where S = 1
    stacked 3x3     two see 5x5 with 18 C^2 weights for 25 C^2, three 7x7 with 27 C^2 for 49 C^2
    attention       2 N^2 C MACs for its two products; in windows of M x M 2 M^2 H W C, linear in the image's size

Simonyan & Zisserman (2014), arXiv:1409.1556 (stacks); Szegedy et al. (2014), arXiv:1409.4842 (1x1 before 5x5); He et
al. (2015), arXiv:1512.03385 (bottlenecks); Liu et al., "Swin transformer" (2021), arXiv:2103.14030 (windows). Sizes are
in bytes of 4 a number unless told otherwise; KB, GiB are powers of 1024, GB of 1000. The first two formulas and the
receptive field are functions of dlcore.ops.arithmetic.
"""

import math
from collections.abc import Sequence

from flax import linen as nn

from dlcore.ops.arithmetic import conv_macs, conv_parameters, receptive_field

__all__ = [
    "activation_kb",
    "attention_macs",
    "basic_block_weights",
    "bottleneck_block_weights",
    "dense_macs",
    "dense_parameters",
    "layer_parameters",
    "patch_tokens",
    "pixel_attention_entries",
    "reduced_conv_macs",
    "single_conv_weights",
    "stacked_conv_weights",
    "video_bytes",
    "voxel_bytes",
    "window_attention_macs",
]


def dense_parameters(inputs: int, outputs: int, *, bias: bool = True) -> int:
    """D D' + D'."""
    _check(inputs=inputs, outputs=outputs)
    return inputs * outputs + outputs * bias


def dense_macs(inputs: int, outputs: int, *, positions: int = 1) -> int:
    """D D' at each of `positions` (tokens, pixels)."""
    _check(positions=positions)
    return positions * dense_parameters(inputs, outputs, bias=False)


def activation_kb(shape: Sequence[int], *, itemsize: int = 4) -> float:
    """KB (of 1024 bytes) of a map of `shape`: 64 x 56 x 56 float32 takes 784."""
    _check(itemsize=itemsize, **_numbered("shape", shape))
    return math.prod(shape) * itemsize / 1024


def stacked_conv_weights(channels: int, kernel_size: int, layers: int) -> int:
    """`layers` convolutions C -> C of K x K, without biases: 18 C^2 for two of 3x3."""
    _check(layers=layers)
    return layers * conv_parameters(channels, channels, (kernel_size, kernel_size), bias=False)


def single_conv_weights(channels: int, kernel_size: int, layers: int) -> int:
    """One convolution C -> C that sees what that stack sees: 25 C^2 for two of 3x3."""
    _check(layers=layers)
    return stacked_conv_weights(channels, receptive_field([kernel_size] * layers), 1)


def pixel_attention_entries(side: int) -> int:
    """Weights of one head's attention between all pixels of a side x side image: side^4."""
    _check(side=side)
    return side**4


def patch_tokens(side: int, patch: int) -> int:
    """Patches of patch x patch in a side x side image. Raises ValueError where they do not tile it."""
    _check(side=side, patch=patch)
    if side % patch:
        raise ValueError(f"patch is {patch}: it must divide the image's side {side}")
    return (side // patch) ** 2


def attention_macs(tokens: int, channels: int) -> int:
    """Q K^T and A V of all heads together: 2 N^2 C; the projections are dense layers."""
    _check(tokens=tokens, channels=channels)
    return 2 * tokens**2 * channels


def window_attention_macs(height: int, width: int, window: int, channels: int) -> int:
    """The same inside windows of M x M: 2 M^2 H W C, linear in the image's size and quadratic in M.

    Raises ValueError where the windows do not tile the map.
    """
    _check(height=height, width=width, window=window)
    if height % window or width % window:
        raise ValueError(f"window is {window}: it must divide the map's {height}x{width}")
    return (height // window) * (width // window) * attention_macs(window**2, channels)


def reduced_conv_macs(
    channels: int, reduced: int, features: int, kernel_size: Sequence[int], output_size: Sequence[int]
) -> int:
    """A 1x1 convolution to `reduced` channels and then the convolution, as in an inception module; stride 1."""
    first = conv_macs(output_size, channels, reduced, (1,) * len(kernel_size))
    return first + conv_macs(output_size, reduced, features, kernel_size)


def basic_block_weights(channels: int) -> int:
    """Two 3x3 convolutions of C channels: 18 C^2."""
    return stacked_conv_weights(channels, 3, 2)


def bottleneck_block_weights(channels: int) -> int:
    """1x1, 3x3 and 1x1 with C channels inside and 4 C outside: 17 C^2."""
    ends = conv_parameters(4 * channels, channels, (1, 1), bias=False)
    return 2 * ends + conv_parameters(channels, channels, (3, 3), bias=False)


def voxel_bytes(side: int, *, channels: int = 1, itemsize: int = 4) -> int:
    """A grid of side^3 voxels: 1024^3 float32 take 4 GiB."""
    _check(side=side, channels=channels, itemsize=itemsize)
    return side**3 * channels * itemsize


def video_bytes(height: int, width: int, frames: int, *, channels: int = 3, itemsize: int = 1) -> int:
    """Frames of uint8 pixels as they are fed to a network, uncompressed."""
    _check(height=height, width=width, frames=frames, channels=channels, itemsize=itemsize)
    return height * width * channels * frames * itemsize


def layer_parameters(layer: nn.Module, input_shape: Sequence[int]) -> int | None:
    """Parameters of a layer on [..., C] by its fields; None for a class whose formula is not here."""
    channels = input_shape[-1]
    if hasattr(layer, "feature_group_count"):  # flax's convolution, and ours
        groups, bias = layer.feature_group_count, layer.use_bias
        return conv_parameters(channels, layer.features, layer.kernel_size, groups=groups, bias=bias)
    if isinstance(layer, nn.ConvTranspose):
        return conv_parameters(channels, layer.features, layer.kernel_size, bias=layer.use_bias)
    if isinstance(layer, nn.Dense):
        return dense_parameters(channels, layer.features, bias=layer.use_bias)
    if hasattr(layer, "use_scale"):  # batch, layer, group and RMS normalization
        return channels * (layer.use_scale + getattr(layer, "use_bias", False))
    return None


def _numbered(name: str, values: Sequence[int]) -> dict[str, int]:
    return {f"{name}[{i}]": value for i, value in enumerate(values)}


def _check(**numbers: int) -> None:
    for name, value in numbers.items():
        if value < 1:
            raise ValueError(f"{name} is {value}: at least 1 is allowed")
