"""RegNet: a design space of residual networks whose widths follow a quantized line.

Radosavovic, Kosaraju, Girshick, He & Dollar, "Designing network design spaces" (2020), arXiv:2003.13678.

    u_j = w_0 + w_a j                           the width wanted of block j = 0 ... d - 1
    s_j = round(log(u_j / w_0) / log w_m)       blocks with one s are a stage
    w_j = w_0 w_m^s_j                           rounded to a multiple of 8, and then of the group width g
    block(x) = relu(F(x) + P x),  F(x) = BN conv1x1(SE(relu BN conv3x3(relu BN conv1x1(x))))    3x3 in groups of g

So four numbers and g give all widths and depths. X has no squeeze-and-excitation; Y has it, with a quarter of the
block's input channels. The first block of each stage has stride 2. timm's V is a Y whose norms come before the
convolutions; its Z (Dollar, Singh & Girshick 2021, arXiv:2103.06877) has a branch four times as wide, no activation
after the sum and no shortcut where the shape changes. Names are torchvision's, with `block1_0/a` for
`trunk_output.block1.block1-0.f.a`; the head is `head`, not `fc`.
"""

import functools
import itertools
import re
from typing import Annotated, Any, Literal

import jax
import numpy as np
from flax import linen as nn

from dlcore.choices import check_whole_number
from dlcore.learner import Range
from dlcore.models.backbone import Backbone
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_images
from dlcore.models.mobilenet_v2 import KERNEL_INIT, ConvNorm, round_channels
from dlcore.models.resnet import SqueezeExcitation, conv_and_norm
from dlcore.models.torch_weights import Layout
from dlcore.nn import Conv, silu
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import avg_pool
from dlcore.ops.replica import REPLICA

__all__ = ["MODELS", "PreActRegNetBlock", "RegNet", "RegNetBlock", "quantized_widths"]

TORCH_NAMES = (
    (r"\.(a|b|se|c)\.", r".f.\1."),
    (r"^block(\d+)\.(\d+)\.", r"trunk_output.block\1.block\1-\2."),
    (r"^head\.", "fc."),
)
_ORDER = "abc"


def _transformers_layer(match: re.Match) -> str:
    """Return transformers' name of a layer of a block, which counts the gates of squeeze-and-excitation as one."""
    stage, block, layer = int(match[1]) - 1, match[2], match[3]
    front = f"encoder.stages.{stage}.layers.{block}."
    if layer == "proj":
        return f"{front}shortcut."
    return f"{front}layer.2.attention." if layer == "se" else f"{front}layer.{_ORDER.index(layer)}."


TORCH_LAYOUTS = (
    Layout(
        r"^stem\.(conv\.|weight$)",  # timm's
        names=(
            (r"^block(\d)\.(\d+)\.", lambda m: f"s{m[1]}.b{int(m[2]) + 1}."),
            (r"\.(a|b|c)\.", lambda m: f".conv{_ORDER.index(m[1]) + 1}."),
            (r"\.proj\.", ".downsample."),
            (r"(^stem|^final_conv|\.conv\d|\.downsample)\.0\.", r"\1.conv."),
            (r"(^stem|^final_conv|\.conv\d|\.downsample)\.1\.", r"\1.bn."),
            (r"\.shortcut\.", ".downsample."),
            (r"^head\.", "head.fc."),
        ),
    ),
    Layout(
        r"^embedder\.embedder\.",
        names=(
            (r"^stem\.", "embedder.embedder."),
            (r"^block(\d)\.(\d+)\.(\w+)\.", _transformers_layer),
            (r"\.attention\.fc1\.", ".attention.0."),
            (r"\.attention\.fc2\.", ".attention.2."),
            (r"(embedder|shortcut|layer\.\d)\.0\.(?=weight)", r"\1.convolution."),
            (r"(embedder|shortcut|layer\.\d)\.1\.(?!bn)", r"\1.normalization."),
            (r"^head\.", "classifier.1."),
        ),
        older=(
            (r"^regnet\.", ""),
            (r"\.layer\.3\.", ".layer.2."),  # with gates at 2, the last convolution is at 3
        ),
    ),
)
"""timm's names, and those of transformers' RegNetForImageClassification."""


def quantized_widths(
    depth: int, width: int, slope: float, step: float, group_width: int, nearest: bool = False
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Compute the depths and widths of the stages of a RegNet.

    Args:
      depth: d, number of blocks.
      width: w_0, width of the first block, a multiple of 8.
      slope: w_a, by how much the wanted width grows from block to block.
      step: w_m, ratio of the widths of neighboring stages.
      group_width: g, channels of a group; a narrower stage is one group.
      nearest: round to the nearest multiple of g, also where that is less than 0.9 of the width (pycls, timm).

    Returns:
      The blocks of each stage, and the channels of each stage.
    """
    check_whole_number("depth", depth, 1)
    check_whole_number("group_width", group_width, 1)
    if not (width > 0 and width % 8 == 0 and 0 <= slope < np.inf and 1 < step < np.inf):
        raise ValueError(f"{width=}, {slope=}, {step=}: no widths follow; allowed: a multiple of 8, >= 0, > 1")
    continuous_widths = width + slope * np.arange(depth)
    power = np.round(np.log(continuous_widths / width) / np.log(step))
    widths = 8 * np.round(width * step**power / 8).astype(int)
    stages = [(int(w), len(list(blocks))) for w, blocks in itertools.groupby(widths)]
    groups = [min(group_width, w) for w, _ in stages]
    rounded = (round(w / g) * g if nearest else round_channels(w, g) for (w, _), g in zip(stages, groups, strict=True))
    return tuple(n for _, n in stages), tuple(rounded)


Activation = Literal["relu", "silu"]
ACTIVATIONS = {"relu": nn.relu, "silu": silu}


class _Block(CheckedFields):
    """What both kinds of block have.

    Args:
      features: channels of the block.
      stride: stride of the 3x3 convolution.
      group_width: channels of a group of the 3x3 convolution.
      se_ratio: units of squeeze-and-excitation as a share of the block's input channels; 0 for none.
      expansion: channels of the 3x3 convolution as a multiple of `features`.
      linear: no activation after the sum, and no shortcut where the shape changes; not before activations.
      pool_shortcut: the shortcut averages 2x2 windows before its convolution; before activations only.
      activation: relu or silu.
    """

    features: int
    stride: int = 1
    group_width: int = 8
    se_ratio: float = 0.0
    expansion: int = 1
    linear: bool = False
    pool_shortcut: bool = False
    activation: Activation = "relu"
    dtype: Any = None
    axis_name: str | None = REPLICA

    def _gates(self, y: jax.Array, channels: int) -> jax.Array:
        """Squeeze and excite; `channels` are those of the block's input."""
        if not self.se_ratio:
            return y
        units, activation = round(self.se_ratio * channels), ACTIVATIONS[self.activation]
        return SqueezeExcitation(units, activation, dtype=self.dtype, kernel_init=KERNEL_INIT, name="se")(y)


class RegNetBlock(_Block):
    """1x1, grouped 3x3 and 1x1 convolutions beside the shortcut."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, ceil(H / stride), ceil(W / stride), features].
        """
        inner, activation = self.expansion * self.features, ACTIVATIONS[self.activation]
        layer = functools.partial(ConvNorm, activation=activation, dtype=self.dtype, axis_name=self.axis_name)
        y = layer(inner, 1, name="a")(x, train)
        y = layer(inner, 3, self.stride, inner // min(self.group_width, inner), name="b")(y, train)
        y = layer(self.features, 1, activation=None, name="c")(self._gates(y, x.shape[-1]), train)
        same = self.stride == 1 and x.shape[-1] == self.features
        if self.linear:
            return x + y if same else y
        if not same:
            x = layer(self.features, 1, self.stride, activation=None, name="proj")(x, train)
        return activation(x + y)


class PreActRegNetBlock(_Block):
    """The block with norm and activation before each convolution; the shortcut starts after the first."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, ceil(H / stride), ceil(W / stride), features].
        """
        conv, norm = conv_and_norm(self, train)
        width, activation, channels = self.expansion * self.features, ACTIVATIONS[self.activation], x.shape[-1]
        x = activation(norm(name="norm1")(x))
        y = activation(norm(name="norm2")(conv(width, (1, 1), name="conv1")(x)))
        groups = width // min(self.group_width, width)
        y = conv(width, (3, 3), self.stride, padding=1, feature_group_count=groups, name="conv2")(y)
        y = activation(norm(name="norm3")(self._gates(y, channels)))
        y = conv(self.features, (1, 1), name="conv3")(y)
        if self.pool_shortcut and self.stride > 1:
            x = avg_pool(x, (2, 2), (2, 2), count_include_pad=False, ceil_mode=True)
            return y + conv(self.features, (1, 1), name="shortcut_1")(x)
        if self.stride != 1 or channels != self.features:
            x = conv(self.features, (1, 1), self.stride, name="shortcut")(x)
        return y + x


class RegNet(Backbone):
    """A RegNet on [B, H, W, C]. Stages: stem, block1 to block4 (strides 2, 4, 8, 16, 32).

    Args:
      depth: d, number of blocks (`quantized_widths`).
      width: w_0, width of the first block, a multiple of 8.
      slope: w_a, by how much the wanted width grows from block to block.
      step: w_m, ratio of the widths of neighboring stages.
      group_width: channels of a group of the 3x3 convolutions.
      se_ratio: units of squeeze-and-excitation as a share of the block's input channels; 0 for none.
      stem_width: channels of the stem.
      nearest: how widths are rounded (`quantized_widths`).
      stages: blocks of each stage, in place of those that follow from `depth`; with `widths`.
      expansion: channels of the 3x3 convolutions as a multiple of the block's.
      linear: no activation after a block's sum, and no shortcut where the shape changes; one activation at the end.
      pre_activation: norm and activation before each convolution, and one activation at the end.
      pool_shortcut: with `pre_activation` the shortcuts average 2x2 windows before their convolution.
      activation: relu or silu.
      last_width: channels of a 1x1 convolution before the head, which is none with 0.
    """

    num_classes: int = 1000
    depth: int = 16
    width: int = 48
    slope: float = 27.89
    step: float = 2.09
    group_width: int = 8
    se_ratio: float = 0.25
    stem_width: int = 32
    remat: Remat = "none"
    nearest: Annotated[bool, "if changed"] = False
    stages: Annotated[tuple[int, ...], "if changed"] = ()
    widths: Annotated[tuple[int, ...], "if changed"] = ()
    expansion: Annotated[int, "if changed"] = 1
    linear: Annotated[bool, "if changed"] = False
    pre_activation: Annotated[bool, "if changed"] = False
    pool_shortcut: Annotated[bool, "if changed"] = False
    activation: Annotated[Activation, "if changed"] = "relu"
    last_width: Annotated[int, Range(0), "if changed"] = 0

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        check_images(self, x, "stem" if self.pre_activation else "stem/0", smallest=1)
        dtype, activation = compute_dtype(self.dtype, x, self.variables), ACTIVATIONS[self.activation]
        shape = {"dtype": dtype, "axis_name": self.axis_name}
        if self.pre_activation:
            x = Conv(self.stem_width, (3, 3), 2, padding=1, use_bias=False, dtype=dtype, name="stem")(x)
        else:
            x = ConvNorm(self.stem_width, 3, 2, activation=activation, **shape, name="stem")(x, train)
        x = self.perturb("stem", x)
        maps = {"stem": x}
        block = PreActRegNetBlock if self.pre_activation else RegNetBlock
        fields = {"expansion": self.expansion, "linear": self.linear, "pool_shortcut": self.pool_shortcut}
        block = functools.partial(
            remat(block, self.remat, static_argnums=(2,)), activation=self.activation, **fields, **shape
        )
        depths, widths = self.stages, self.widths
        if not depths:
            line = (self.depth, self.width, self.slope, self.step, self.group_width)
            depths, widths = quantized_widths(*line, self.nearest)
        for i, (blocks, width) in enumerate(zip(depths, widths, strict=True), 1):
            for j in range(blocks):
                stride, name = 2 if j == 0 else 1, f"block{i}_{j}"
                x = block(width, stride, self.group_width, self.se_ratio, name=name)(x, train)
            x = maps[f"block{i}"] = self.perturb(f"block{i}", x)
        if self.last_width:
            x = ConvNorm(self.last_width, 1, activation=activation, **shape, name="final_conv")(x, train)
        elif self.linear or self.pre_activation:
            x = activation(x)
        return x, maps


def _variant(depth: int, width: int, slope: float, step: float, group_width: int, squeeze: float) -> functools.partial:
    return functools.partial(
        RegNet, depth=depth, width=width, slope=slope, step=step, group_width=group_width, se_ratio=squeeze
    )


MODELS = {
    "regnet_x_400mf": _variant(22, 24, 24.48, 2.54, 16, 0.0),
    "regnet_x_800mf": _variant(16, 56, 35.73, 2.28, 16, 0.0),
    "regnet_x_1_6gf": _variant(18, 80, 34.01, 2.25, 24, 0.0),
    "regnet_x_3_2gf": _variant(25, 88, 26.31, 2.25, 48, 0.0),
    "regnet_x_8gf": _variant(23, 80, 49.56, 2.88, 120, 0.0),
    "regnet_x_16gf": _variant(22, 216, 55.59, 2.1, 128, 0.0),
    "regnet_x_32gf": _variant(23, 320, 69.86, 2.0, 168, 0.0),
    "regnet_y_400mf": _variant(16, 48, 27.89, 2.09, 8, 0.25),
    "regnet_y_800mf": _variant(14, 56, 38.84, 2.4, 16, 0.25),
    "regnet_y_1_6gf": _variant(27, 48, 20.71, 2.65, 24, 0.25),
    "regnet_y_3_2gf": _variant(21, 80, 42.63, 2.66, 24, 0.25),
    "regnet_y_8gf": _variant(17, 192, 76.82, 2.19, 56, 0.25),
    "regnet_y_16gf": _variant(18, 200, 106.23, 2.48, 112, 0.25),
    "regnet_y_32gf": _variant(20, 232, 115.89, 2.53, 232, 0.25),
    "regnet_y_128gf": _variant(27, 456, 160.83, 2.52, 264, 0.25),
}
