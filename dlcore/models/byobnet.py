"""Residual networks of bottlenecks, each stage with a width, a ratio and groups of its own: GENet, timm's RegNetZ, ...

Lin, Chen, Sun, Li & Jin, "Neural architecture design for GPU-efficient networks" (2020), arXiv:2006.14090 (GENet);
Dollar, Singh & Girshick, "Fast and accurate model scaling" (2021), arXiv:2103.06877 (RegNetZ); Radford et al.,
"Learning transferable visual models from natural language supervision" (2021), arXiv:2103.00020 (the ResNets of CLIP,
with an average before the head). The ResNets with a tiered stem (ts) and those of 51 and 61 layers are timm's.

    bottle:  F(x) = BN conv1x1(A(f BN conv3x3(f BN conv1x1(x))))     A: attention over channels, f: ReLU or SiLU
    edge:    F(x) = BN conv1x1(A(f BN conv3x3(x)));   basic: F(x) = BN conv3x3(f BN conv3x3(x))
    y = f(F(x) + P x);   linear blocks: y = F(x) + x, and F(x) alone where the shape changes

Names are timm's.
"""

import functools
from typing import Annotated, Any, Literal, NamedTuple

import jax
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models.antialiasing import downsample
from dlcore.models.backbone import Backbone
from dlcore.models.channel_attention import EfficientChannelAttention, GlobalContext
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_images
from dlcore.models.mobilenet_v2 import KERNEL_INIT, ConvNorm, round_channels
from dlcore.models.resnet import SqueezeExcitation
from dlcore.nn import Conv, silu
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import avg_pool, max_pool
from dlcore.ops.replica import REPLICA

__all__ = ["MODELS", "TORCH_NAMES", "ByobBlock", "ByobNet", "Form", "Stage"]

TORCH_NAMES = (
    (r"shortcut_conv\.", "shortcut.conv."),
    (r"stem_conv(\d)\.", r"stem.conv\1."),
    (r"(stem|stem\.conv\d|conv\d\w*|shortcut|shortcut\.conv|final_conv)\.0\.(?=weight)", r"\1.conv."),
    (r"(stem|stem\.conv\d|conv\d\w*|shortcut|shortcut\.conv|final_conv)\.1\.", r"\1.bn."),
    (r"\.mlp_add_", ".mlp_add."),
    (r"^head\.", "head.fc."),
)
ACTIVATIONS = {"relu": nn.relu, "silu": silu}


Gates = Literal["none", "se", "eca", "gc"]


class Stage(NamedTuple):
    """Blocks of one kind.

    Args:
      kind: bottle, edge or basic.
      blocks: number of blocks.
      width: output channels.
      stride: stride of the first block.
      group_size: channels of a group of a bottleneck's 3x3 convolution; 0 for one group.
      ratio: channels between the convolutions as a multiple of the outputs.
    """

    kind: str
    blocks: int
    width: int
    stride: int = 2
    group_size: int = 0
    ratio: float = 0.25


class Form(NamedTuple):
    """What all blocks of a network share.

    Args:
      gates: attention over channels: none, se (squeeze-and-excitation), eca or gc (`dlcore.models.channel_attention`).
      se_ratio: units of squeeze-and-excitation as a share of the channels, rounded to a multiple of 8.
      activation: relu or silu.
      linear: no activation after the sum, no shortcut where the shape changes, and `ratio` is of the inputs.
      twice: a bottleneck has two 3x3 convolutions.
      pool: strides average 2x2 windows, behind a 3x3 convolution and before a shortcut's.
    """

    gates: Gates = "none"
    se_ratio: float = 1 / 16
    activation: Literal["relu", "silu"] = "silu"
    linear: bool = False
    twice: bool = False
    pool: bool = False


class ByobBlock(CheckedFields):
    """A residual block.

    Args:
      stage: its kind, width, stride, groups and ratio; a stride of 1 is written for all blocks but the first.
      form: what it shares with the other blocks.
    """

    stage: Any
    form: Any
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H / stride, W / stride, width].
        """
        stage, form = self.stage, self.form
        activation = ACTIVATIONS[form.activation]
        layer = functools.partial(ConvNorm, dtype=self.dtype, axis_name=self.axis_name, activation=activation)
        width = round_channels((x.shape[-1] if form.linear else stage.width) * stage.ratio)
        groups = width // stage.group_size if stage.group_size else 1
        pooled = form.pool and stage.stride > 1
        stride = 1 if pooled else stage.stride
        if stage.kind == "basic":
            y = layer(width, 3, stride, name="conv1_kxk")(x, train)
            y = layer(stage.width, 3, groups=groups, activation=None, name="conv2_kxk")(y, train)
        elif stage.kind == "edge":
            y = layer(width, 3, stride, groups, name="conv1_kxk")(x, train)
            y = layer(stage.width, 1, activation=None, name="conv2_1x1")(self._gates(y), train)
        else:
            y = layer(width, 1, name="conv1_1x1")(x, train)
            y = layer(width, 3, stride, groups, name="conv2_kxk")(y, train)
            y = downsample(y, "mean" if pooled else "none")
            y = layer(width, 3, groups=groups, name="conv2b_kxk")(y, train) if form.twice else y
            y = layer(stage.width, 1, activation=None, name="conv3_1x1")(self._gates(y), train)
        same = stage.stride == 1 and x.shape[-1] == stage.width
        if form.linear:
            return x + y if same else y
        if not same and form.pool:
            x = avg_pool(x, (2, 2), (2, 2), count_include_pad=False, ceil_mode=True) if pooled else x
            x = layer(stage.width, 1, activation=None, name="shortcut_conv")(x, train)
        elif not same:
            x = layer(stage.width, 1, stride, activation=None, name="shortcut")(x, train)
        return activation(x + y)

    def _gates(self, y: jax.Array) -> jax.Array:
        form, channels = self.form, y.shape[-1]
        if form.gates == "se":
            units = round_channels(channels * form.se_ratio, limit=0.0)
            return SqueezeExcitation(units, dtype=self.dtype, kernel_init=KERNEL_INIT, name="attn")(y)
        if form.gates == "eca":
            return EfficientChannelAttention(dtype=self.dtype, name="attn")(y)
        return GlobalContext(max(1, channels // 8), dtype=self.dtype, name="attn")(y) if form.gates == "gc" else y


class ByobNet(Backbone):
    """A network of `ByobBlock`s on [B, H, W, C]. Stages: stem, stage1, stage2, ...

    Args:
      stages: blocks of each stage.
      form: what all blocks share.
      stem: channels of the stem's 3x3 convolutions, of which the first has stride 2, and the last one, too, where
        several are followed by no pooling.
      stem_pool: pooling of stride 2 behind the stem: none, max or mean.
      bare: number of convolutions of the stem without norm and activation, from the first.
      last_width: channels of a 1x1 convolution before the head, which is none with 0.
    """

    num_classes: int = 1000
    stages: Any = (Stage("bottle", 2, 256, 1), Stage("bottle", 2, 512))
    form: Any = Form()
    stem: tuple[int, ...] = (24, 32, 64)
    stem_pool: Literal["none", "max", "mean"] = "none"
    bare: Annotated[int, Range(0)] = 0
    last_width: Annotated[int, Range(0)] = 0
    remat: Remat = "none"

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        single = len(self.stem) == 1 and self.stem_pool == "none"
        check_images(self, x, "stem/0" if single else f"stem_conv1{'' if self.bare else '/0'}", smallest=1)
        dtype, activation = compute_dtype(self.dtype, x, self.variables), ACTIVATIONS[self.form.activation]
        fields = {"dtype": dtype, "axis_name": self.axis_name}
        for i, width in enumerate(self.stem):
            last = i > 0 and i + 1 == len(self.stem) and self.stem_pool == "none"
            name, stride = "stem" if single else f"stem_conv{i + 1}", 2 if i == 0 or last else 1
            if i < self.bare:
                x = Conv(width, (3, 3), stride, padding=1, use_bias=False, dtype=dtype, name=name)(x)
            else:
                x = ConvNorm(width, 3, stride, activation=activation, **fields, name=name)(x, train)
        if self.stem_pool == "max":
            x = max_pool(x, (3, 3), (2, 2), padding=1)
        x = self.perturb("stem", downsample(x, "mean" if self.stem_pool == "mean" else "none"))
        maps = {"stem": x}
        block = remat(ByobBlock, self.remat, static_argnums=(2,))
        for i, stage in enumerate(self.stages):
            for j in range(stage.blocks):
                stage = stage if j == 0 else stage._replace(stride=1)
                x = block(stage, self.form, **fields, name=f"stages_{i}_{j}")(x, train)
            x = maps[f"stage{i + 1}"] = self.perturb(f"stage{i + 1}", x)
        if self.last_width:
            x = ConvNorm(self.last_width, 1, activation=activation, **fields, name="final_conv")(x, train)
        return x, maps


def _bottles(
    blocks: tuple[int, ...], widths: tuple[int, ...], first: int, group_size: int = 0, ratio: float = 0.25
) -> tuple[Stage, ...]:
    """Stages of bottlenecks; `first` is the stride of the first one."""
    strides = (first, *(2,) * (len(blocks) - 1))
    zipped = zip(blocks, widths, strides, strict=True)
    return tuple(Stage("bottle", *values, group_size, ratio) for values in zipped)


def _genet(basic: tuple[int, ...], bottle: tuple[int, ...], widths: tuple[int, ...], stem: int, last: int) -> Any:
    kinds = ("basic", "basic", "bottle", "bottle", "bottle")
    rest = ((2, 0, 1.0), (2, 0, 1.0), (2, 0, 0.25), (2, 1, 3.0), (1, 1, 3.0))
    zipped = zip(kinds, (*basic, *bottle), widths, rest, strict=True)
    stages = tuple(Stage(kind, blocks, width, *values) for kind, blocks, width, values in zipped)
    return functools.partial(ByobNet, stages=stages, form=Form(activation="relu"), stem=(stem,), last_width=last)


def _regnetz(blocks: tuple, widths: tuple, group_size: int, last: int, ratio: float = 4.0) -> functools.partial:
    tiered = widths[0] > 48  # the larger networks start with more convolutions
    stages = _bottles(blocks, widths, 1 if tiered else 2, group_size, ratio)
    form = Form("se", 0.25, linear=True)
    return functools.partial(ByobNet, stages=stages, form=form, stem=(24, 32, 64) if tiered else (32,), last_width=last)


def _clip(blocks: tuple[int, ...], factor: float = 1.0) -> functools.partial:
    stages = _bottles(blocks, tuple(int(factor * width) for width in (256, 512, 1024, 2048)), 1)
    stem = tuple(int(factor * width) for width in (32, 32, 64))
    return functools.partial(
        ByobNet, stages=stages, form=Form(activation="relu", pool=True), stem=stem, stem_pool="mean"
    )


WIDTHS = (256, 512, 1024, 2048)
OF_26, OF_50 = _bottles((2, 2, 2, 2), WIDTHS, 1, 32), _bottles((3, 4, 6, 3), WIDTHS, 1, 32)
OF_33 = _bottles((2, 3, 3, 2), (256, 512, 1536, 1536), 1)
OF_51 = (*_bottles((2, 4, 6), (256, 512, 1536), 1, 32), Stage("bottle", 4, 1536, 2, 1, 1.0))
OF_61 = (Stage("edge", 1, 256, 1, 0, 1.0), *OF_51[1:])
QUAD = (16, 32, 64, 128)
GATES: dict[str, Gates] = {"": "none", "gc": "gc", "se": "se", "eca_": "eca"}
MODELS = {
    "gernet_s": _genet((1, 3), (7, 2, 1), (48, 48, 384, 560, 256), 13, 1920),
    "gernet_m": _genet((1, 2), (6, 4, 1), (128, 192, 640, 640, 640), 32, 2560),
    "gernet_l": _genet((1, 2), (6, 5, 4), (128, 192, 640, 640, 640), 32, 2560),
    "resnet51q": functools.partial(ByobNet, stages=OF_51, stem=QUAD, bare=2, last_width=2048),
    "resnet61q": functools.partial(ByobNet, stages=OF_61, form=Form(twice=True), stem=QUAD, last_width=2048),
    **{
        f"{prefix}resnext26ts": functools.partial(ByobNet, stages=OF_26, form=Form(gates), stem_pool="max")
        for prefix, gates in GATES.items()
    },
    "resnet32ts": functools.partial(ByobNet, stages=OF_33),
    **{
        f"{prefix}resnet33ts": functools.partial(ByobNet, stages=OF_33, form=Form(gates), last_width=1280)
        for prefix, gates in GATES.items()
    },
    "gcresnet50t": functools.partial(
        ByobNet, stages=_bottles((3, 4, 6, 3), WIDTHS, 1), form=Form("gc", activation="relu")
    ),
    "gcresnext50ts": functools.partial(ByobNet, stages=OF_50, form=Form("gc"), stem_pool="max"),
    "regnetz_b16": _regnetz((2, 6, 12, 2), (48, 96, 192, 288), 16, 1536, 3.0),
    "regnetz_c16": _regnetz((2, 6, 12, 2), (48, 96, 192, 288), 16, 1536),
    "regnetz_d32": _regnetz((3, 6, 12, 3), (64, 128, 256, 384), 32, 1792),
    "regnetz_d8": _regnetz((3, 6, 12, 3), (64, 128, 256, 384), 8, 1792),
    "regnetz_e8": _regnetz((3, 8, 16, 3), (96, 192, 384, 512), 8, 2048),
    "resnet50_clip_gap": _clip((3, 4, 6, 3)),
    "resnet101_clip_gap": _clip((3, 4, 23, 3)),
    "resnet50x4_clip_gap": _clip((4, 6, 10, 6), 1.25),
    "resnet50x16_clip_gap": _clip((6, 8, 18, 8), 1.5),
    "resnet50x64_clip_gap": _clip((3, 15, 36, 10), 2.0),
}
