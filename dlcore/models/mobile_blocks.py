"""The blocks of searched mobile networks (MBConv and its kin), and the line of text that describes some of them.

Tan et al., "MnasNet: platform-aware neural architecture search for mobile" (2018), arXiv:1807.11626 (the lines); Tan &
Le, "MixConv: mixed depthwise convolutional kernels" (2019), arXiv:1907.09595; Yang, Bender, Le & Ngiam, "CondConv:
conditionally parameterized convolutions for efficient inference" (2019), arXiv:1904.04971.

    conv:       h BN conv(x)
    separable:  BN conv1x1(SE(h BN depthwise(x)))
    inverted:   BN conv1x1(SE(h BN depthwise(h BN conv1x1(x))))         e C channels inside
    fused:      BN conv1x1(SE(h BN conv(x)))                            e C channels inside
    plus x      where the stride is 1 and the channels stay

    MixConv:    each part of the channels has a kernel of its own size
    CondConv:   the kernel of an example is sum_i r_i W_i,  r = sigmoid(W mean(x)): experts W_i, mixed by a router

"inverted x3 k5 s2 e6 c40 se.25" is three inverted blocks of 40 channels, kernels of 5 and an expansion by 6, the first
of stride 2, with squeeze-and-excitation. Names are timm's.
"""

import functools
import re
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.models.fields import CheckedFields
from dlcore.models.mobilenet_v2 import KERNEL_INIT, Padding, round_channels
from dlcore.models.resnet import SqueezeExcitation
from dlcore.nn import BatchNorm, Conv, Dense, drop_path, gelu, hard_sigmoid, hard_swish, relu, relu6, silu
from dlcore.ops.convolution import conv_general_dilated
from dlcore.ops.replica import REPLICA

__all__ = ["ACTIVATIONS", "Activation", "BlockSetting", "CondConv", "MixConv", "MobileBlock", "parse_blocks"]

ACTIVATIONS = {"relu": relu, "relu6": relu6, "silu": silu, "hard_swish": hard_swish, "gelu": gelu}
Activation = Literal["relu", "relu6", "silu", "hard_swish", "gelu"]


class BlockSetting(NamedTuple):
    """One block.

    Args:
      kind: conv, separable, inverted or fused.
      features: output channels.
      kernel_sizes: sides of the kernels, one for each part of the channels.
      stride: stride of the block.
      expansion: inner channels as a multiple of the input's.
      se_ratio: units of squeeze-and-excitation as a share of the channels that it scales; 0 for none.
      activation: function after batch norm; None: the network's.
      skip: add x where the stride is 1 and the channels stay.
      activate_last: apply the activation after the last batch norm too.
      expansion_parts: parts of the channels of the first 1x1 convolution, each of which sees its own.
      projection_parts: such parts of the last 1x1 convolution.
      group_width: channels of a group of a fused block's first convolution; 0: one group.
      base_width: channels that the expansion multiplies; 0: the input's.
      num_experts: kernels that a router mixes; 0: one kernel and no router.
      space_to_depth: begin with a 2x2 convolution of stride 2 to four times the channels, and halve the kernel.
      divisor: what the inner channels are a multiple of.
      dilation: distance between the taps of a depthwise kernel.
    """

    kind: Literal["conv", "separable", "inverted", "fused"]
    features: int
    kernel_sizes: tuple[int, ...] = (3,)
    stride: int = 1
    expansion: float = 1.0
    se_ratio: float = 0.0
    activation: Activation | None = None
    skip: bool = True
    activate_last: bool = False
    expansion_parts: int = 1
    projection_parts: int = 1
    group_width: int = 0
    base_width: int = 0
    num_experts: int = 0
    space_to_depth: bool = False
    divisor: int = 8
    dilation: int = 1


_NUMBERS = {
    **{"c": "features", "s": "stride", "e": "expansion", "se": "se_ratio", "g": "group_width", "base": "base_width"},
    **{"in": "expansion_parts", "out": "projection_parts", "experts": "num_experts"},
}


def parse_blocks(line: str) -> tuple[BlockSetting, int]:
    """Read the line of text that describes some equal blocks.

    Args:
      line: the kind and words: x3 (blocks), c40 (features), k5 or k3.5 (kernels), s2 (stride), e6 (expansion), se.25
        (squeeze-and-excitation), in2 and out2 (parts), g64 (group width), base24 (base width), experts4, noskip, space
        (space to depth), act (activate last) or the name of an activation.

    Returns:
      The block, and how many there are.
    """
    kind, *words = line.split()
    fields, repeats = {}, 1
    for word in words:
        key, number = re.fullmatch(r"([a-z_]+?)([\d.]*)", word).groups() if word not in ACTIVATIONS else (word, "")
        if key == "x":
            repeats = int(number)
        elif key == "k":
            fields["kernel_sizes"] = tuple(map(int, number.split(".")))
        elif key in _NUMBERS:
            fields[_NUMBERS[key]] = float(number) if key in ("e", "se") else int(number)
        else:
            flags = {"noskip": {"skip": False}, "space": {"space_to_depth": True}, "act": {"activate_last": True}}
            fields |= flags.get(key, {"activation": word})
    return BlockSetting(kind, **fields), repeats


class MixConv(CheckedFields):
    """A convolution whose parts of the channels have kernels of different sizes, without a bias.

    Args:
      kernel_sizes: side of the kernel of each part; the first part takes what the division leaves over.
      stride: stride of the convolution.
      depthwise: each channel by itself; else each part of the output sees its part of the input.
      padding: zeros around the map, see `dlcore.models.mobilenet_v2.ConvNorm`.
    """

    features: int
    kernel_sizes: tuple[int, ...] = (3, 5)
    stride: int = 1
    depthwise: bool = True
    dtype: Any = None
    padding: Padding = "both"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Convolve: [B, H, W, C] -> [B, ceil(H / stride), ceil(W / stride), features]."""
        inputs, outputs = (self._parts(channels) for channels in (x.shape[-1], self.features))
        maps, start = [], 0
        for i, (size, width, features) in enumerate(zip(self.kernel_sizes, inputs, outputs, strict=True)):
            conv = _conv(features, size, self.stride, width if self.depthwise else 1, self.padding, self.dtype, str(i))
            maps.append(conv(x[..., start : start + width]))
            start += width
        return jnp.concatenate(maps, -1)

    @nn.nowrap
    def _parts(self, channels: int) -> list[int]:
        parts = len(self.kernel_sizes)
        return [channels // parts + channels % parts] + [channels // parts] * (parts - 1)


class CondConv(CheckedFields):
    """A convolution whose kernel is a mixture of experts' for each example, without a bias.

    Args:
      kernel_size: side of the kernels.
      stride: stride of the convolution.
      groups: groups of channels.
      padding: zeros around the map, see `dlcore.models.mobilenet_v2.ConvNorm`.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    groups: int = 1
    dtype: Any = None
    padding: Padding = "both"

    @nn.compact
    def __call__(self, x: jax.Array, routing: jax.Array) -> jax.Array:
        """Convolve.

        Args:
          x: [B, H, W, C].
          routing: [B, experts], weights of the kernels.

        Returns:
          [B, ceil(H / stride), ceil(W / stride), features].
        """
        shape = (self.kernel_size, self.kernel_size, x.shape[-1] // self.groups, self.features)
        init = lambda key, sizes: jax.vmap(lambda k: KERNEL_INIT(k, sizes[1:]))(jax.random.split(key, sizes[0]))  # noqa: E731
        experts = self.param("experts", init, (routing.shape[-1], *shape))
        kernels = jnp.tensordot(routing.astype(x.dtype), experts.astype(x.dtype), 1)
        side = (self.kernel_size - 1) // 2
        return jax.vmap(
            lambda image, kernel: conv_general_dilated(
                image[None],
                kernel,
                (self.stride,) * 2,
                "SAME" if self.padding == "same" else [(side, side)] * 2,
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
                feature_group_count=self.groups,
            )[0]
        )(x, kernels)


def _conv(
    features: int, size: int, stride: int, groups: int, padding: str, dtype: Any, name: str, dilation: int = 1
) -> Conv:
    return Conv(
        features,
        (size, size),
        strides=stride,
        padding="SAME" if padding == "same" else (size - 1) // 2 * dilation,
        kernel_dilation=dilation,
        feature_group_count=groups,
        use_bias=False,
        dtype=dtype,
        kernel_init=KERNEL_INIT,
        name=name,
    )


class MobileBlock(CheckedFields):
    """One block, with its shortcut.

    Args:
      setting: the block.
      activation: function after batch norm where the block names none.
      se_activation: function between the layers of squeeze-and-excitation; None: the block's.
      se_gate: the gate of squeeze-and-excitation.
      se_divisor: what its units are a multiple of.
      se_limit: share of its units that rounding keeps at least.
      momentum: share of the running statistics that batch norm keeps at an update.
      padding: zeros around the maps, see `dlcore.models.mobilenet_v2.ConvNorm`.
    """

    setting: BlockSetting
    activation: Activation = "relu"
    se_activation: Activation | None = None
    se_gate: Literal["sigmoid", "hard_sigmoid"] = "sigmoid"
    se_divisor: int = 1
    se_limit: float = 0.9
    drop_path: float = 0.0
    epsilon: float = 1e-5
    momentum: float = 0.9
    dtype: Any = None
    axis_name: str | None = REPLICA
    padding: Padding = "both"

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, ceil(H / stride), ceil(W / stride), features]; half as many rows and columns with `space_to_depth`.
        """
        setting, shortcut = self.setting, x
        sizes, padding = setting.kernel_sizes, self.padding
        norm = functools.partial(self._norm, train=train)
        routing = None
        if setting.num_experts:
            routing = nn.sigmoid(Dense(setting.num_experts, dtype=self.dtype, name="routing_fn")(x.mean((1, 2))))
        if setting.space_to_depth:
            x = norm(_conv(4 * x.shape[-1], 2, 2, 1, "same", self.dtype, "conv_s2d")(x), "bn_s2d")
            sizes = tuple((size + 1) // 2 for size in sizes)
            padding = "same" if sizes == (2,) else padding
        width = round_channels((setting.base_width or x.shape[-1]) * setting.expansion, setting.divisor)
        conv = functools.partial(self._conv, routing=routing)
        names = iter(("bn1", "bn2", "bn3"))
        if setting.kind == "conv":
            y = norm(conv(x, setting.features, sizes, setting.stride, name="conv"), next(names))
        else:
            y = x
            if setting.kind == "inverted":
                y = norm(conv(y, width, (1,) * setting.expansion_parts, name="conv_pw"), next(names))
            if setting.kind == "fused":
                groups = width // setting.group_width if setting.group_width else 1
                y = norm(conv(y, width, sizes, setting.stride, groups, name="conv_exp"), next(names))
            else:
                dilation = setting.dilation
                y = conv(y, y.shape[-1], sizes, setting.stride, y.shape[-1], padding, dilation, name="conv_dw")
                y = norm(y, next(names))
            if setting.se_ratio:
                y = self._gate(y)
            name = "conv_pw" if setting.kind == "separable" else "conv_pwl"
            y = conv(y, setting.features, (1,) * setting.projection_parts, name=name)
            y = norm(y, next(names), activate=setting.activate_last)
        has_skip = setting.skip and setting.stride == 1 and y.shape == shortcut.shape
        return shortcut + drop_path(y, self.drop_path, train) if has_skip else y

    def _conv(
        self,
        x: Any,
        features: int,
        sizes: Any,
        stride: int = 1,
        groups: int = 1,
        padding: Any = None,
        dilation: int = 1,
        *,
        routing,
        name,
    ) -> jax.Array:
        padding = padding or self.padding
        if routing is not None:
            return CondConv(features, sizes[0], stride, groups, self.dtype, padding, name=name)(x, routing)
        if len(sizes) > 1:
            return MixConv(features, sizes, stride, groups > 1, self.dtype, padding, name=name)(x)
        return _conv(features, sizes[0], stride, groups, padding, self.dtype, name, dilation)(x)

    def _norm(self, x: jax.Array, name: str, *, train: bool, activate: bool = True) -> jax.Array:
        fields = {"axis_name": self.axis_name, "dtype": self.dtype}
        x = BatchNorm(not train, self.momentum, self.epsilon, **fields, name=name)(x)
        return ACTIVATIONS[self.setting.activation or self.activation](x) if activate else x

    def _gate(self, x: jax.Array) -> jax.Array:
        units = x.shape[-1] * self.setting.se_ratio
        units = round(units) if self.se_divisor == 1 else round_channels(units, self.se_divisor, self.se_limit)
        activation = ACTIVATIONS[self.se_activation or self.setting.activation or self.activation]
        gate = nn.sigmoid if self.se_gate == "sigmoid" else hard_sigmoid
        return SqueezeExcitation(units, activation, gate, self.dtype, KERNEL_INIT, name="se")(x)
