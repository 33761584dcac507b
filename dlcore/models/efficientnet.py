"""EfficientNet: one searched network, scaled in width, depth and resolution at once; and EfficientNetV2.

Tan & Le, "EfficientNet: rethinking model scaling for convolutional neural networks" (2019), arXiv:1905.11946; Tan & Le,
"EfficientNetV2: smaller models and faster training" (2021), arXiv:2104.00298.

    MBConv:        F(x) = BN conv1x1(SE(silu BN depthwise(silu BN conv1x1(x))))     t C channels inside
    fused MBConv:  F(x) = BN conv1x1(silu BN conv(x)), or silu BN conv(x) where t = 1
    y = x + b F(x) / p        where the stride is 1 and C stays; b ~ Bernoulli(p) for each example, in training alone

    compound scaling by phi:  depth alpha^phi, width beta^phi, resolution gamma^phi       alpha = 1.2, beta = 1.1,
    alpha beta^2 gamma^2 ~ 2, so that the cost grows about as 2^phi                       gamma = 1.15, by grid search

B0 is the result of a search over each stage's operation, kernel, squeeze ratio, skip, channels and layers (here a
`StageSetting`) that maximizes accuracy (cost / target)^-0.07 (`search_reward`). B1 to B7 have the multipliers of the
authors' code, which follow compound scaling approximately. p falls linearly from 1 at the first block toward 1 -
`drop_path`. B5 to B7 have other batch-norm constants than B0 to B4, as in torchvision's weights. Names are
torchvision's; the head is `head`, not `classifier.1`. timm's files load too.
"""

import functools
import math
from typing import Annotated, Any, NamedTuple

import jax
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.models.backbone import Backbone
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_images
from dlcore.models.mobilenet_v2 import KERNEL_INIT, ConvNorm, ConvPadding, round_channels
from dlcore.models.resnet import SqueezeExcitation
from dlcore.models.torch_weights import Layout
from dlcore.nn import Dropout, StochasticDepth
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import global_avg_pool
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.replica import REPLICA

__all__ = ["MODELS", "EfficientNet", "MBConv", "Scale", "StageSetting", "compound_scale", "search_reward"]

TORCH_NAMES = ((r"^head\.", "classifier.1."),)
_STEM_AND_HEAD = (
    (r"^features\.0\.0\.", "conv_stem."),
    (r"^features\.0\.1\.", "bn1."),
    (r"^features\.\d\.0\.(?=weight$)", "conv_head."),
    (r"^features\.\d\.1\.(?!block)", "bn2."),
    (r"^head\.", "classifier."),
)


def _timm_block(stages: str, *layers: str) -> tuple[tuple[str, str], ...]:
    """Pairs of `re.sub` for the blocks of some stages; each layer is a convolution with its norm, or se."""
    pairs, norms = [], 0
    for i, layer in enumerate(layers):
        block = rf"^(features\.{stages}\.\d+)\.block\.{i}\."
        if layer == "se":
            pairs += [(f"{block}fc1", r"\1.se.conv_reduce"), (f"{block}fc2", r"\1.se.conv_expand")]
            continue
        norms += 1
        pairs += [(f"{block}0\\.", rf"\1.{layer}."), (f"{block}1\\.", rf"\1.bn{norms}.")]
    return tuple(pairs)


_TIMM_STAGES = ((r"^features\.(\d)\.", lambda m: f"blocks.{int(m[1]) - 1}."),)
_MBCONV = ("conv_pw", "conv_dw", "se", "conv_pwl")
TORCH_LAYOUTS = (
    Layout(
        r"^blocks\.0\.0\.conv_dw\.",
        names=(
            *_STEM_AND_HEAD,
            *_timm_block("1", "conv_dw", "se", "conv_pw"),
            *_timm_block("[2-7]", *_MBCONV),
            *_TIMM_STAGES,
        ),
    ),
    Layout(
        r"^blocks\.0\.0\.conv\.",
        names=(
            *_STEM_AND_HEAD,
            *_timm_block("1", "conv"),
            *_timm_block("[23]", "conv_exp", "conv_pwl"),
            *_timm_block("[4-7]", *_MBCONV),
            *_TIMM_STAGES,
        ),
    ),
)
"""timm's names of EfficientNet, and of EfficientNetV2."""


class StageSetting(NamedTuple):
    """The blocks of a stage.

    Args:
      expansion: factor by which a block's inner channels exceed its input's.
      kernel_size: side of the depthwise (or fused) kernel.
      stride: stride of the first block.
      features: output channels.
      layers: number of blocks.
      se_ratio: units of squeeze-and-excitation as a share of a block's input channels; 0 for none.
      fused: replace the first two convolutions by a dense one, without squeeze-and-excitation.
      skip: add the shortcut where the stride is 1 and the channels stay.
    """

    expansion: int
    kernel_size: int
    stride: int
    features: int
    layers: int
    se_ratio: float = 0.25
    fused: bool = False
    skip: bool = True


class Scale(NamedTuple):
    """Multipliers of a network's size.

    Args:
      depth: multiplier of the number of layers.
      width: multiplier of the number of channels.
      resolution: resolution of the image's side.
    """

    depth: float
    width: float
    resolution: float


def compound_scale(phi: float, alpha: float = 1.2, beta: float = 1.1, gamma: float = 1.15) -> Scale:
    """Compute the multipliers that a cost of about 2^phi buys.

    Args:
      phi: compound coefficient; 0 gives the base network.
      alpha: base of the depth.
      beta: base of the width.
      gamma: base of the resolution.

    Returns:
      Depth alpha^phi, width beta^phi and resolution gamma^phi.
    """
    check_shapes(phi=(phi, "finite"), alpha=(alpha, "finite"), beta=(beta, "finite"), gamma=(gamma, "finite"))
    if min(alpha, beta, gamma) < 1:
        raise ValueError(f"alpha={alpha}, beta={beta}, gamma={gamma}: more cost would buy less; allowed: at least 1")
    return Scale(alpha**phi, beta**phi, gamma**phi)


def search_reward(accuracy: float, cost: float, target: float, exponent: float = -0.07) -> float:
    """Compute the reward of the architecture search, accuracy (cost / target)^exponent.

    Args:
      accuracy: accuracy of the candidate.
      cost: multiplications or latency of the candidate.
      target: cost that is aimed at, in the same unit.
      exponent: exponent of the cost; with -0.07, twice the cost must bring 5% more accuracy (relatively) for the same
        reward.

    Returns:
      The reward, equal to the accuracy where the cost is the target.
    """
    check_shapes(accuracy=(accuracy, "0 to 1"), exponent=(exponent, "finite"), target=(target, "> 0"))
    check_shapes(cost=(cost, "> 0"))
    return accuracy * (cost / target) ** exponent


class MBConv(CheckedFields):
    """One block of a stage, beside the shortcut.

    Args:
      setting: the stage; its `stride` and `layers` are not read here.
      stride: stride of the block.
      survival: probability of keeping the branch of an example in training (stochastic depth).
      momentum: share of the running statistics that batch norm keeps at an update.
      padding: zeros around the maps, see `dlcore.models.mobilenet_v2.ConvNorm`.
    """

    setting: StageSetting
    stride: int = 1
    survival: float = 1.0
    epsilon: float = 1e-5
    momentum: float = 0.9
    dtype: Any = None
    axis_name: str | None = REPLICA
    padding: ConvPadding = "both"

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, ceil(H / stride), ceil(W / stride), features].
        """
        features, channels = self.setting.features, x.shape[-1]
        hidden_channels, kernel = round_channels(channels * self.setting.expansion), self.setting.kernel_size
        fields = {"epsilon": self.epsilon, "momentum": self.momentum, "dtype": self.dtype, "axis_name": self.axis_name}
        layer = functools.partial(ConvNorm, activation=nn.silu, padding=self.padding, **fields)
        linear = functools.partial(ConvNorm, features, 1, activation=None, **fields)
        if self.setting.fused and hidden_channels == channels:
            y = layer(features, kernel, self.stride, name="block_0")(x, train)
        elif self.setting.fused:
            y = layer(hidden_channels, kernel, self.stride, name="block_0")(x, train)
            y = linear(name="block_1")(y, train)
        else:
            names, y = (f"block_{i}" for i in range(4)), x
            if hidden_channels != channels:
                y = layer(hidden_channels, 1, name=next(names))(y, train)
            y = layer(hidden_channels, kernel, self.stride, hidden_channels, name=next(names))(y, train)
            if self.setting.se_ratio:
                units = max(1, int(channels * self.setting.se_ratio))
                y = SqueezeExcitation(units, nn.silu, dtype=self.dtype, kernel_init=KERNEL_INIT, name=next(names))(y)
            y = linear(name=next(names))(y, train)
        if not self.setting.skip or self.stride != 1 or channels != features:
            return y
        if self.survival < 1:
            y = StochasticDepth(self.survival, inverted=True, mode="row", deterministic=not train)(y)
        return x + y


B0 = (
    StageSetting(1, 3, 1, 16, 1),
    StageSetting(6, 3, 2, 24, 2),
    StageSetting(6, 5, 2, 40, 2),
    StageSetting(6, 3, 2, 80, 3),
    StageSetting(6, 5, 1, 112, 3),
    StageSetting(6, 5, 2, 192, 4),
    StageSetting(6, 3, 1, 320, 1),
)


class EfficientNet(Backbone):
    """An EfficientNet on [B, H, W, C]. Stages: stem, stage1, ..., last (B0: strides 2 2 4 8 16 16 32 32 32).

    Args:
      settings: one StageSetting a stage.
      width_mult: multiplier of all channels but `last_channel`, rounded to multiples of 8.
      depth_mult: multiplier of the layers of each stage, rounded up.
      stem_width: channels of the stem, before `width_mult`.
      last_channel: channels of the last convolution; None: four times its input's.
      drop_path: block i of n drops the branch of an example in training with probability drop_path * i / n.
      momentum: share of the running statistics that batch norm keeps at an update.
      padding: zeros around the maps: both, as many on both sides, or same, as TensorFlow (`tf_*` of timm), or end.
      symmetric_blocks: indices of blocks whose padding is both where the others' is end, since their maps are odd.
      last_conv: a convolution behind the last stage, whose map is `last`.
    """

    num_classes: int = 1000
    settings: tuple[StageSetting, ...] = B0
    width_mult: float = 1.0
    depth_mult: float = 1.0
    stem_width: int = 32
    last_channel: int | None = None
    dropout: float = 0.2
    drop_path: float = 0.2
    epsilon: float = 1e-5
    momentum: float = 0.9
    remat: Remat = "none"
    padding: Annotated[ConvPadding, "if changed"] = "both"
    symmetric_blocks: Annotated[tuple[int, ...], "if changed"] = ()
    last_conv: Annotated[bool, "if changed"] = True

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        check_choice("padding", self.padding, ConvPadding)
        check_images(self, x, "features_0/0", smallest=1)
        dtype = compute_dtype(self.dtype, x, self.variables)
        fields = {"epsilon": self.epsilon, "momentum": self.momentum, "dtype": dtype, "axis_name": self.axis_name}
        fields["padding"] = self.padding
        layer = functools.partial(ConvNorm, activation=nn.silu, **fields)
        x = layer(round_channels(self.stem_width * self.width_mult), stride=2, name="features_0")(x, train)
        x = self.perturb("stem", x)
        maps, index = {"stem": x}, 0
        block = remat(MBConv, self.remat, static_argnums=(2,))
        layers = [math.ceil(setting.layers * self.depth_mult) for setting in self.settings]
        for i, setting in enumerate(self.settings):
            setting = setting._replace(features=round_channels(setting.features * self.width_mult))
            for j in range(layers[i]):
                survival, stride = 1 - self.drop_path * index / sum(layers), setting.stride if j == 0 else 1
                fields["padding"] = "both" if index in self.symmetric_blocks else self.padding
                x = block(setting, stride, survival, **fields, name=f"features_{i + 1}_{j}")(x, train)
                index += 1
            x = maps[f"stage{i + 1}"] = self.perturb(f"stage{i + 1}", x)
        if not self.last_conv:
            return x, maps
        width = self.last_channel or 4 * x.shape[-1]
        x = maps["last"] = self.perturb("last", layer(width, 1, name=f"features_{len(layers) + 1}")(x, train))
        return x, maps

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        x = global_avg_pool(to_acc_dtype(x))
        x = Dropout(self.dropout, deterministic=not train)(x)
        return self._linear(x)


def _v1(width: float, depth: float, dropout: float, **fields: Any) -> functools.partial:
    return functools.partial(EfficientNet, width_mult=width, depth_mult=depth, dropout=dropout, **fields)


def _v2(fused: tuple, separable: tuple, dropout: float, width: int = 24) -> functools.partial:
    settings = (*(StageSetting(*s, fused=True) for s in fused), *(StageSetting(*s) for s in separable))
    return functools.partial(
        EfficientNet, settings=settings, stem_width=width, last_channel=1280, dropout=dropout, epsilon=1e-3
    )


MODELS = {
    "efficientnet_b0": _v1(1.0, 1.0, 0.2),
    "efficientnet_b1": _v1(1.0, 1.1, 0.2),
    "efficientnet_b2": _v1(1.1, 1.2, 0.3),
    "efficientnet_b3": _v1(1.2, 1.4, 0.3),
    "efficientnet_b4": _v1(1.4, 1.8, 0.4),
    "efficientnet_b5": _v1(1.6, 2.2, 0.4, epsilon=1e-3, momentum=0.99),
    "efficientnet_b6": _v1(1.8, 2.6, 0.5, epsilon=1e-3, momentum=0.99),
    "efficientnet_b7": _v1(2.0, 3.1, 0.5, epsilon=1e-3, momentum=0.99),
    "efficientnet_v2_s": _v2(
        ((1, 3, 1, 24, 2), (4, 3, 2, 48, 4), (4, 3, 2, 64, 4)),
        ((4, 3, 2, 128, 6), (6, 3, 1, 160, 9), (6, 3, 2, 256, 15)),
        dropout=0.2,
    ),
    "efficientnet_v2_m": _v2(
        ((1, 3, 1, 24, 3), (4, 3, 2, 48, 5), (4, 3, 2, 80, 5)),
        ((4, 3, 2, 160, 7), (6, 3, 1, 176, 14), (6, 3, 2, 304, 18), (6, 3, 1, 512, 5)),
        dropout=0.3,
    ),
    "efficientnet_v2_l": _v2(
        ((1, 3, 1, 32, 4), (4, 3, 2, 64, 7), (4, 3, 2, 96, 7)),
        ((4, 3, 2, 192, 10), (6, 3, 1, 224, 19), (6, 3, 2, 384, 25), (6, 3, 1, 640, 7)),
        dropout=0.4,
        width=32,
    ),
}
SIDES = {"b1": 240, "b2": 288, "b3": 300, "b4": 380, "b5": 456, "b6": 528, "b7": 600, "v2_s": 384, "v2_m": 480}
INPUT_SHAPES = {f"efficientnet_{name}": (side, side, 3) for name, side in (SIDES | {"v2_l": 480}).items()}
