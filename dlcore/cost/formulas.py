"""Formulas of cost: parameters, multiply-adds and bytes of a layer or a design, from its numbers alone.

    convolution     C' (C / g) K K + C' parameters          C' H' W' (C / g) K K multiply-adds (MACs), FLOPs = 2 MACs
    dense           D D' + D' parameters                    D D' MACs a position
    receptive field R_k = 1 + sum_j (F_j - 1) prod_{i<j} S_i     F kernels, S strides; 1 + L (K - 1) where S = 1
    stacked 3x3     two see 5x5 with 18 C^2 weights for 25 C^2, three 7x7 with 27 C^2 for 49 C^2
    attention       2 N^2 C MACs for its two products; in windows of M x M 2 M^2 H W C, linear in the image's size

Simonyan & Zisserman (2014), arXiv:1409.1556 (stacks); Szegedy et al. (2014), arXiv:1409.4842 (1x1 before 5x5); He et
al. (2015), arXiv:1512.03385 (bottlenecks); Liu et al., "Swin transformer" (2021), arXiv:2103.14030 (windows). KB and
GiB are powers of 1024, GB of 1000. The first two formulas and the receptive field are functions of
dlcore.ops.arithmetic.
"""

import math
from collections.abc import Sequence

from flax import linen as nn

from dlcore.choices import check_whole_number
from dlcore.nn import GlobalResponseNorm
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
    """Parameters of a dense layer, D D' + D'.

    Args:
      inputs: D.
      outputs: D'.
      bias: whether the layer has the D' biases.

    Returns:
      The number of parameters.
    """
    _check(inputs=inputs, outputs=outputs)
    if not isinstance(bias, bool):
        raise ValueError(f"bias={bias!r}: no bool; allowed: True, False")
    return inputs * outputs + outputs * bias


def dense_macs(inputs: int, outputs: int, *, positions: int = 1) -> int:
    """Multiply-adds of a dense layer, D D' at each position.

    Args:
      inputs: D.
      outputs: D'.
      positions: how many tokens or pixels the layer is applied to.

    Returns:
      The number of multiply-adds.
    """
    _check(positions=positions)
    return positions * dense_parameters(inputs, outputs, bias=False)


def activation_kb(shape: Sequence[int], *, itemsize: int = 4) -> float:
    """Memory of an activation map: 64 x 56 x 56 float32 takes 784 KB.

    Args:
      shape: shape of the map.
      itemsize: bytes a number.

    Returns:
      KB of 1024 bytes.
    """
    _check(itemsize=itemsize, **_numbered("shape", shape))
    return math.prod(shape) * itemsize / 1024


def stacked_conv_weights(channels: int, kernel_size: int, layers: int) -> int:
    """Weights of a stack of K x K convolutions C -> C without biases: 18 C^2 for two of 3x3.

    Args:
      channels: C.
      kernel_size: K.
      layers: how many convolutions.

    Returns:
      The number of weights.
    """
    _check(channels=channels, kernel_size=kernel_size, layers=layers)
    return layers * conv_parameters(channels, channels, (kernel_size, kernel_size), bias=False)


def single_conv_weights(channels: int, kernel_size: int, layers: int) -> int:
    """Weights of one convolution C -> C, without bias, with the receptive field of a stack: 25 C^2 for two of 3x3.

    Args:
      channels: C.
      kernel_size: K of the stack's convolutions.
      layers: layers of the stack.

    Returns:
      The number of weights.
    """
    _check(channels=channels, kernel_size=kernel_size, layers=layers)
    return stacked_conv_weights(channels, receptive_field([kernel_size] * layers), 1)


def pixel_attention_entries(side: int) -> int:
    """Weights of one head's attention between all pixels of a square image: side^4.

    Args:
      side: side of the image in pixels.

    Returns:
      The number of attention weights.
    """
    _check(side=side)
    return side**4


def patch_tokens(side: int, patch: int) -> int:
    """Count the patches that tile a square image.

    Args:
      side: side of the image in pixels.
      patch: side of a patch, in pixels.

    Returns:
      (side / patch)^2.
    """
    _check(side=side, patch=patch)
    if side % patch:
        raise ValueError(f"patch={patch}: does not tile the image; allowed: divisors of its side {side}")
    return (side // patch) ** 2


def attention_macs(tokens: int, channels: int) -> int:
    """Multiply-adds of Q K^T and A V over all heads, 2 N^2 C; the projections are dense layers.

    Args:
      tokens: N.
      channels: C, over all heads.

    Returns:
      The number of multiply-adds.
    """
    _check(tokens=tokens, channels=channels)
    return 2 * tokens**2 * channels


def window_attention_macs(height: int, width: int, window: int, channels: int) -> int:
    """Multiply-adds of Q K^T and A V inside windows of M x M, 2 M^2 H W C: linear in the image's size, quadratic in M.

    Args:
      height: H of the map, in tokens.
      width: W of the map, in tokens.
      window: M.
      channels: C, over all heads.

    Returns:
      The number of multiply-adds.
    """
    _check(height=height, width=width, window=window)
    if height % window or width % window:
        raise ValueError(f"window={window}: does not tile the map; allowed: divisors of {height} and {width}")
    return (height // window) * (width // window) * attention_macs(window**2, channels)


def reduced_conv_macs(
    channels: int, reduced: int, features: int, kernel_size: Sequence[int], output_size: Sequence[int]
) -> int:
    """Multiply-adds of a 1x1 convolution and then a K x K one, as in an inception module; stride 1.

    Args:
      channels: number of channels of the input.
      reduced: channels between the two convolutions.
      features: channels of the output.
      kernel_size: K of each spatial axis.
      output_size: output size of each spatial axis, in pixels.

    Returns:
      The number of multiply-adds.
    """
    _check(channels=channels, reduced=reduced, features=features)
    _check(**_numbered("kernel_size", kernel_size), **_numbered("output_size", output_size))
    if len(kernel_size) != len(output_size) or not len(kernel_size):
        raise ValueError(
            f"output_size={output_size}: of another number of axes; allowed: {len(kernel_size)}, at least 1"
        )
    first = conv_macs(output_size, channels, reduced, (1,) * len(kernel_size))
    return first + conv_macs(output_size, reduced, features, kernel_size)


def basic_block_weights(channels: int) -> int:
    """Weights of a residual block's two 3x3 convolutions, 18 C^2.

    Args:
      channels: C.

    Returns:
      The number of weights.

    Raises:
      ValueError: `channels` is no whole number from 1.
    """
    return stacked_conv_weights(channels, 3, 2)


def bottleneck_block_weights(channels: int) -> int:
    """Weights of a bottleneck block's 1x1, 3x3 and 1x1 convolutions, 17 C^2.

    Args:
      channels: C inside the block; outside it has 4 C.

    Returns:
      The number of weights.
    """
    _check(channels=channels)
    pointwise = conv_parameters(4 * channels, channels, (1, 1), bias=False)
    return 2 * pointwise + conv_parameters(channels, channels, (3, 3), bias=False)


def voxel_bytes(side: int, *, channels: int = 1, itemsize: int = 4) -> int:
    """Memory of a cube of voxels: 1024^3 float32 take 4 GiB.

    Args:
      side: voxels a side.
      channels: numbers a voxel.
      itemsize: bytes a number.

    Returns:
      Bytes.
    """
    _check(side=side, channels=channels, itemsize=itemsize)
    return side**3 * channels * itemsize


def video_bytes(height: int, width: int, frames: int, *, channels: int = 3, itemsize: int = 1) -> int:
    """Memory of uncompressed video as it is fed to a network.

    Args:
      height: height in pixels.
      width: width in pixels.
      frames: how many.
      channels: numbers per pixel.
      itemsize: bytes a number.

    Returns:
      Bytes.
    """
    _check(height=height, width=width, frames=frames, channels=channels, itemsize=itemsize)
    return height * width * channels * frames * itemsize


def layer_parameters(layer: nn.Module, input_shape: Sequence[int]) -> int | None:
    """Parameters of a flax layer by its fields, for layers of convolution, dense products and normalization.

    Args:
      layer: an unbound module.
      input_shape: [..., C].

    Returns:
      The number of parameters; None for a class whose formula is not here.
    """
    _numbered("input_shape", input_shape)
    if not len(input_shape):
        raise ValueError("input_shape=(): no channels; allowed: (..., C)")
    _check(channels=input_shape[-1])
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
    if isinstance(layer, GlobalResponseNorm):
        return 2 * channels
    return None


def _numbered(name: str, values: Sequence[int]) -> dict[str, int]:
    if not isinstance(values, Sequence):
        raise ValueError(f"{name}={values!r}: no sizes; allowed: a tuple of whole numbers")
    return {f"{name}[{i}]": value for i, value in enumerate(values)}


def _check(**numbers: int) -> None:
    for name, value in numbers.items():
        check_whole_number(name, value, 1)
