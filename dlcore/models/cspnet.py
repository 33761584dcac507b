"""DarkNet and cross-stage partial networks (CSPNet), whose blocks see half of a stage's channels.

Redmon & Farhadi, "YOLOv3: an incremental improvement" (2018), arXiv:1804.02767 (DarkNet-53); Wang et al., "CSPNet: a
new backbone that can enhance learning capability of CNN" (2019), arXiv:1911.11929.

    dark block:  x + f BN conv3x3(f BN conv1x1(x));   edge: x + f BN conv1x1(f BN conv3x3(x))
    bottle:      f(x + BN conv1x1(f BN conv3x3(f BN conv1x1(x))))       f: leaky ReLU or SiLU
    dark stage:  blocks(D x)                                            D: BN conv3x3 of stride 2
    csp stage:   T [a, T_b blocks(b)] of the halves a, b of E D x       E, T: BN conv1x1
    cs3 stage:   T [blocks(a), b]

Names are timm's.
"""

import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.models.backbone import Backbone
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_images
from dlcore.models.mobilenet_v2 import KERNEL_INIT, ConvNorm, round_channels
from dlcore.models.resnet import SqueezeExcitation
from dlcore.nn import silu
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import avg_pool, max_pool
from dlcore.ops.replica import REPLICA

__all__ = ["MODELS", "TORCH_NAMES", "CSPBlock", "CSPNet"]

TORCH_NAMES = (
    (r"^stages\.(\d)_", r"stages.\1."),
    (r"stem_conv(\d)\.", r"stem.conv\1."),
    (r"(conv_down\.1|conv\d|conv_\w+)\.0\.(?=weight)", r"\1.conv."),
    (r"(conv_down\.1|conv\d|conv_\w+)\.1\.(?!conv|bn)", r"\1.bn."),
    (r"^head\.", "head.fc."),
)
ACTIVATIONS = {"leaky_relu": nn.leaky_relu, "silu": silu}
Kind = Literal["dark", "edge", "bottle"]
Activation = Literal["leaky_relu", "silu"]


class CSPBlock(CheckedFields):
    """A residual block that keeps the shape of its input.

    Args:
      width: channels between the convolutions.
      kind: order of the convolutions, see the module.
      groups: groups of the 3x3 convolution.
      se_ratio: units of squeeze-and-excitation between the convolutions as a share of `width`; 0 for none.
      activation: leaky_relu or silu.
    """

    width: int
    kind: Kind = "dark"
    groups: int = 1
    se_ratio: float = 0.0
    activation: Activation = "silu"
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H, W, C].
        """
        activation, channels = ACTIVATIONS[self.activation], x.shape[-1]
        layer = functools.partial(ConvNorm, activation=activation, dtype=self.dtype, axis_name=self.axis_name)
        if self.kind == "bottle":
            y = layer(self.width, 3, groups=self.groups, name="conv2")(
                layer(self.width, 1, name="conv1")(x, train), train
            )
            return activation(x + layer(channels, 1, activation=None, name="conv3")(y, train))
        first, second = (1, 3) if self.kind == "dark" else (3, 1)
        y = layer(self.width, first, name="conv1")(x, train)
        if self.se_ratio:
            units = round_channels(self.width * self.se_ratio, limit=0.0)
            y = SqueezeExcitation(units, activation, dtype=self.dtype, kernel_init=KERNEL_INIT, name="attn")(y)
        return x + layer(channels, second, name="conv2")(y, train)


class CSPNet(Backbone):
    """A DarkNet or CSPNet on [B, H, W, C]. Stages: stem, stage1, stage2, ...

    Args:
      stem: channels of the stem's convolutions.
      stem_kernel: side of their kernels.
      stem_stride: 1; 2: the first has that stride; 4: and max pooling follows.
      cross: none (DarkNet), csp or cs3, see the module.
      kind: order of the convolutions of a block: dark, edge or bottle.
      first_stride: stride of the first stage; all others have 2.
      expansion: channels that a stage splits, as a multiple of its outputs.
      bottleneck: channels between the convolutions of a block, as a multiple of the block's.
      wide_first: the first stage splits twice its outputs, and its blocks have half their channels inside.
      groups: groups of the 3x3 convolutions of bottles, and of those that down-sample.
      se_ratio: units of squeeze-and-excitation as a share of the channels inside a block; 0 for none.
      growth: down-sampling computes a stage's number of channels, not that before it.
      linear: no activation before the split.
      pool: down-sample by averages of 2x2 windows before a 1x1 convolution.
      activation: leaky_relu or silu.
    """

    num_classes: int = 1000
    stages: tuple[int, ...] = (3, 6, 9, 3)
    widths: tuple[int, ...] = (128, 256, 512, 1024)
    stem: tuple[int, ...] = (32, 64)
    stem_kernel: int = 3
    stem_stride: int = 2
    cross: Literal["none", "csp", "cs3"] = "cs3"
    kind: Kind = "dark"
    first_stride: int = 2
    expansion: float = 1.0
    bottleneck: float = 1.0
    wide_first: bool = False
    groups: int = 1
    se_ratio: float = 0.0
    growth: bool = False
    linear: bool = False
    pool: bool = False
    activation: Activation = "silu"
    remat: Remat = "none"

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        check_images(self, x, "stem_conv1/0", smallest=1)
        dtype = compute_dtype(self.dtype, x, self.variables)
        fields = {"dtype": dtype, "axis_name": self.axis_name}
        for i, width in enumerate(self.stem):
            stride = 2 if i == 0 and self.stem_stride > 1 else 1
            layer = ConvNorm(
                width,
                self.stem_kernel,
                stride,
                activation=ACTIVATIONS[self.activation],
                **fields,
                name=f"stem_conv{i + 1}",
            )
            x = layer(x, train)
        x = self.perturb("stem", max_pool(x, (3, 3), (2, 2), padding=1) if self.stem_stride == 4 else x)
        maps = {"stem": x}
        for i in range(len(self.stages)):
            x = maps[f"stage{i + 1}"] = self.perturb(f"stage{i + 1}", self._stage(x, train, i, fields))
        return x, maps

    def _stage(self, x: jax.Array, train: bool, i: int, fields: dict[str, Any]) -> jax.Array:
        """Down-sampling and blocks of stage i, counted from 0."""
        features, front, is_wide = self.widths[i], f"stages_{i}_", self.wide_first and i == 0
        layer = functools.partial(ConvNorm, activation=ACTIVATIONS[self.activation], **fields)
        if self.pool:
            x = layer(features, 1, name=f"{front}conv_down_1")(avg_pool(x, (2, 2), (2, 2)), train)
        elif i > 0 or self.first_stride > 1:
            width = features if self.growth or self.cross == "none" else x.shape[-1]
            x = layer(width, 3, 2, self.groups, name=f"{front}conv_down")(x, train)
        rest = None
        if self.cross != "none":
            expand = functools.partial(layer, activation=None) if self.linear else layer
            x = expand(round(features * (2.0 if is_wide else self.expansion)), 1, name=f"{front}conv_exp")(x, train)
            rest, x = jnp.split(x, 2, -1) if self.cross == "csp" else jnp.split(x, 2, -1)[::-1]
        width = round(x.shape[-1] * (0.5 if is_wide else self.bottleneck))
        block = remat(CSPBlock, self.remat, static_argnums=(2,))
        for j in range(self.stages[i]):
            kind = (width, self.kind, self.groups, self.se_ratio, self.activation)
            x = block(*kind, **fields, name=f"{front}blocks_{j}")(x, train)
        if self.cross == "csp":
            x = layer(x.shape[-1], 1, name=f"{front}conv_transition_b")(x, train)
        if rest is None:
            return x
        halves = [rest, x] if self.cross == "csp" else [x, rest]
        return layer(features, 1, name=f"{front}conv_transition")(jnp.concatenate(halves, -1), train)


def _cs3(width: float = 1.0, depth: float = 1.0, focus: bool = False, **fields: Any) -> functools.partial:
    stem = (64,) if focus else (32, 64)
    return functools.partial(
        CSPNet,
        stages=tuple(int(depth * blocks) for blocks in (3, 6, 9, 3)),
        widths=tuple(round_channels(width * channels) for channels in (128, 256, 512, 1024)),
        stem=tuple(round_channels(width * channels) for channels in stem),
        stem_kernel=6 if focus else 3,
        **fields,
    )


DARK = {
    "stages": (1, 2, 8, 8, 4),
    "widths": (64, 128, 256, 512, 1024),
    "stem": (32,),
    "stem_stride": 1,
    "activation": "leaky_relu",
}
RESNET = {
    **{"stages": (3, 3, 5, 2), "stem": (64,), "stem_kernel": 7, "stem_stride": 4, "cross": "csp", "kind": "bottle"},
    **{"first_stride": 1, "linear": True, "activation": "leaky_relu"},
}
MODELS = {
    "darknet53": functools.partial(CSPNet, cross="none", bottleneck=0.5, **DARK),
    "darknetaa53": functools.partial(CSPNet, cross="none", bottleneck=0.5, pool=True, **DARK),
    "cspdarknet53": functools.partial(CSPNet, cross="csp", wide_first=True, growth=True, **DARK),
    "cspresnet50": functools.partial(CSPNet, expansion=2.0, bottleneck=0.5, **RESNET),
    "cspresnext50": functools.partial(CSPNet, widths=(256, 512, 1024, 2048), groups=32, **RESNET),
    "cs3darknet_m": _cs3(0.75, 0.67),
    "cs3darknet_l": _cs3(),
    "cs3darknet_x": _cs3(1.25, 1.33),
    "cs3darknet_focus_s": _cs3(0.5, 0.5, True),
    "cs3darknet_focus_m": _cs3(0.75, 0.67, True),
    "cs3darknet_focus_l": _cs3(focus=True),
    "cs3sedarknet_l": _cs3(se_ratio=0.25),
    "cs3sedarknet_x": _cs3(1.25, 1.33, se_ratio=1 / 16),
    "cs3edgenet_x": _cs3(1.25, 1.33, kind="edge", bottleneck=1.5),
    "cs3se_edgenet_x": _cs3(1.25, 1.33, kind="edge", bottleneck=1.5, se_ratio=0.25),
}
INPUT_SHAPES = dict.fromkeys(MODELS, (256, 256, 3))
