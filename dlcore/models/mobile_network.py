"""A mobile network whose blocks are listed: what architecture searches for phones give, such as MnasNet and FBNet.

`mobile_variants.py` lists the networks and their papers. A stem, stages of `MobileBlock`, and one of two heads:

    conv:     logits = W mean(h BN conv1x1(x))          as in EfficientNet
    pooled:   logits = W h(conv1x1(mean(x)))            as in MobileNetV3, so that the wide layer sees one pixel

Names are timm's; the head is `head`, not `classifier`.
"""

import functools
import math
from typing import Annotated, Any, Literal

import jax
import numpy as np

from dlcore.choices import check_choice
from dlcore.learner import Range
from dlcore.models.backbone import Backbone
from dlcore.models.inputs import check_images
from dlcore.models.mobile_blocks import ACTIVATIONS, Activation, BlockSetting, MobileBlock, parse_blocks
from dlcore.models.mobilenet_v2 import KERNEL_INIT, Padding, round_channels
from dlcore.models.torch_weights import Layout
from dlcore.nn import BatchNorm, Conv, Dropout
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import global_avg_pool
from dlcore.ops.precision import to_acc_dtype

__all__ = ["MobileNetwork", "read_stages"]

TORCH_NAMES = (
    (r"\.se\.fc1\.", ".se.conv_reduce."),
    (r"\.se\.fc2\.", ".se.conv_expand."),
    (r"\.experts$", ".weight"),
    (r"^head\.", "classifier."),
)
_FIRST = (0, 0, 2, 5, 9, 12, 15)
"""Number of the first block of each stage of a MobileNetV2 in transformers, which counts the blocks behind the stem."""


def _layer(name: str, conv: str, norm: str) -> tuple[tuple[str, str], ...]:
    front = r"^(layer\.\d+\.|conv_stem\.)"
    return (
        (rf"{front}{conv}\.", rf"\1{name}.convolution."),
        (rf"{front}{norm}\.", rf"\1{name}.normalization."),
    )


TORCH_LAYOUTS = (
    Layout(
        r"^conv_stem\.first_conv\.",
        names=(
            (r"^conv_stem\.", "conv_stem.first_conv.convolution."),
            (r"^bn1\.", "conv_stem.first_conv.normalization."),
            (r"^conv_head\.", "conv_1x1.convolution."),
            (r"^bn2\.", "conv_1x1.normalization."),
            (r"^blocks\.0\.0\.conv_pw\.", "conv_stem.reduce_1x1.convolution."),
            (r"^blocks\.0\.0\.bn2\.", "conv_stem.reduce_1x1.normalization."),
            (r"^blocks\.0\.0\.bn1\.", "conv_stem.conv_3x3.normalization."),
            (r"^blocks\.0\.0\.", "conv_stem."),
            (r"^blocks\.(\d)\.(\d)\.", lambda m: f"layer.{_FIRST[int(m[1])] + int(m[2])}."),
            *_layer("expand_1x1", "conv_pw", "bn1"),
            *_layer("conv_3x3", "conv_dw", "bn2"),
            *_layer("reduce_1x1", "conv_pwl", "bn3"),
            (r"^head\.", "classifier."),
        ),
        older=((r"^mobilenet_v2\.", ""),),
    ),
)
"""The names of transformers' MobileNetV2."""


def from_torch(path: str, value: Any, shape: tuple[int, ...]) -> Any:
    """Convert the kernels of experts, which the file holds as rows of numbers; see `dlcore.models.registry`."""
    if not path.endswith("/experts"):
        return None
    experts, height, width, inputs, features = shape
    if value.shape != (experts, math.prod(shape[1:])):
        return value
    return np.transpose(np.reshape(value, (experts, features, inputs, height, width)), (0, 3, 4, 2, 1))


def read_stages(
    stages: tuple[str, ...],
    width: float = 1.0,
    depth: float | tuple[float, ...] = 1.0,
    *,
    limit: float = 0.9,
    rounding: Literal["up", "nearest"] = "up",
    fixed_ends: bool = False,
    se_of: Literal["input", "inside"] = "input",
) -> tuple[tuple[BlockSetting, ...], ...]:
    """Read the stages of a network, scaled.

    Args:
      stages: the lines of each stage (`dlcore.models.mobile_blocks.parse_blocks`), with a comma between them.
      width: multiplier of all channels, rounded to multiples of 8.
      depth: multiplier of the blocks of each stage, or of all; a stage's lines share its blocks as before.
      limit: share of its channels that a layer keeps at least when they are rounded.
      rounding: how blocks are rounded.
      fixed_ends: do not multiply the blocks of the first and the last stage.
      se_of: which channels the lines' ratios of squeeze-and-excitation are shares of: the block's input's, or those
        inside.

    Returns:
      The blocks of each stage.
    """
    depths = depth if isinstance(depth, tuple) else (depth,) * len(stages)
    settings, spread = [], False
    for i, (stage, factor) in enumerate(zip(stages, depths, strict=True)):
        lines = [parse_blocks(line) for line in stage.split(",")]
        factor = 1.0 if fixed_ends and i in (0, len(stages) - 1) else factor
        repeats = _scaled([n for _, n in lines], factor, rounding)
        blocks = []
        for block in [block for (block, _), n in zip(lines, repeats, strict=True) for _ in range(n)]:
            features = round_channels(block.features * width, limit=limit)
            stride, expansion, begins = block.stride if not blocks else 1, block.expansion, False
            if spread and stride == 2:  # the map is half as large already, and has four times the channels
                stride, expansion, spread = 1, expansion / 4, False
            elif spread or block.space_to_depth:
                features, begins, spread = 4 * features, not spread, True
            ratio = block.se_ratio / (4 if begins else 1) / (expansion if se_of == "input" else 1)
            base = block.base_width and round_channels(block.base_width * width, limit=limit)
            block = block._replace(features=features, stride=stride, expansion=expansion, base_width=base)
            blocks.append(block._replace(se_ratio=ratio, space_to_depth=begins))
        settings.append(tuple(blocks))
    return tuple(settings)


def _scaled(repeats: list[int], factor: float, rounding: str) -> list[int]:
    """Multiply the blocks of a stage, and share them out from its last line to its first."""
    before = sum(repeats)
    after = math.ceil(before * factor) if rounding == "up" else max(1, round(before * factor))
    scaled: list[int] = []
    for n in reversed(repeats):
        scaled.insert(0, max(1, round(n / before * after)))
        before, after = before - n, after - scaled[0]
    return scaled


class MobileNetwork(Backbone):
    """A mobile network on [B, H, W, C]. Stages: stem, stage1, ... and, with the head conv, last.

    Args:
      settings: the blocks of each stage.
      stem_width: channels of the stem.
      stem_kernel: side of the stem's kernel.
      last_channel: channels of the layer before the linear one.
      head: where that layer stands: conv, before the average over the map, or pooled, behind it.
      head_bias: that layer has a bias, and no batch norm, in a pooled head.
      activation: function after batch norm.
      se_activation: function between the layers of squeeze-and-excitation; None: the block's.
      se_gate: the gate of squeeze-and-excitation.
      se_divisor: what its units are a multiple of.
      se_limit: share of its units that rounding keeps at least.
      momentum: share of the running statistics that batch norm keeps at an update.
      padding: zeros around the maps: both, as many on both sides, or same, as TensorFlow.
    """

    num_classes: int = 1000
    settings: tuple[tuple[BlockSetting, ...], ...] = ((BlockSetting("conv", 16),),)
    stem_width: int = 32
    stem_kernel: int = 3
    last_channel: int = 1280
    head: Literal["conv", "pooled"] = "conv"
    head_bias: bool = False
    activation: Activation = "relu"
    se_activation: Activation | None = None
    se_gate: Literal["sigmoid", "hard_sigmoid"] = "sigmoid"
    se_divisor: int = 1
    se_limit: Annotated[float, Range(0, 1)] = 0.9
    dropout: float = 0.2
    drop_path: float = 0.0
    epsilon: float = 1e-5
    momentum: float = 0.9
    remat: Remat = "none"
    padding: Padding = "both"

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        check_choice("padding", self.padding, Padding)
        check_images(self, x, "conv_stem", smallest=1)
        dtype = compute_dtype(self.dtype, x, self.variables)
        x = self._layer(x, self.stem_width, self.stem_kernel, 2, dtype, ("conv_stem", "bn1"), train)
        x = self.perturb("stem", x)
        maps, index = {"stem": x}, 0
        shared = ("activation", "se_activation", "se_gate", "se_divisor", "se_limit", "epsilon", "momentum", "padding")
        fields = {name: getattr(self, name) for name in (*shared, "axis_name")} | {"dtype": dtype}
        block = functools.partial(remat(MobileBlock, self.remat, static_argnums=(2,)), **fields)
        for i, settings in enumerate(self.settings):
            for j, setting in enumerate(settings):
                rate = self.drop_path * index / sum(map(len, self.settings))
                x = block(setting, drop_path=rate, name=f"blocks_{i}_{j}")(x, train)
                index += 1
            x = maps[f"stage{i + 1}"] = self.perturb(f"stage{i + 1}", x)
        if self.head == "conv":
            x = self._layer(x, self.last_channel, 1, 1, dtype, ("conv_head", "bn2"), train)
            x = maps["last"] = self.perturb("last", x)
        return x, maps

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        x = global_avg_pool(to_acc_dtype(x))
        if self.head == "pooled":
            conv = Conv(self.last_channel, (1, 1), use_bias=self.head_bias, dtype=x.dtype, name="conv_head")
            x = ACTIVATIONS[self.activation](conv(x[:, None, None])[:, 0, 0])
        return self._linear(Dropout(self.dropout, deterministic=not train)(x))

    def _layer(
        self, x: jax.Array, features: int, size: int, stride: int, dtype: Any, names: tuple[str, str], train: bool
    ) -> jax.Array:
        """Apply a convolution, batch norm and the activation."""
        padding = "SAME" if self.padding == "same" else (size - 1) // 2
        fields = {"use_bias": False, "dtype": dtype, "kernel_init": KERNEL_INIT, "name": names[0]}
        x = Conv(features, (size, size), strides=stride, padding=padding, **fields)(x)
        fields = {"axis_name": self.axis_name, "dtype": dtype, "name": names[1]}
        return ACTIVATIONS[self.activation](BatchNorm(not train, self.momentum, self.epsilon, **fields)(x))
