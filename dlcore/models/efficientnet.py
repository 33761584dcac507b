"""EfficientNet: one searched network, scaled in width, depth and resolution at once; and EfficientNetV2.

Tan & Le, "EfficientNet: rethinking model scaling for convolutional neural networks" (2019), arXiv:1905.11946; Tan & Le,
"EfficientNetV2: smaller models and faster training" (2021), arXiv:2104.00298.

    MBConv:        F(x) = BN conv1x1(SE(silu BN depthwise(silu BN conv1x1(x))))     t C channels inside
    fused MBConv:  F(x) = BN conv1x1(silu BN conv(x)), or silu BN conv(x) where t = 1
    y = x + b F(x) / p        where the stride is 1 and C stays; b ~ Bernoulli(p) for each example, in training alone

    compound scaling by phi:  depth alpha^phi, width beta^phi, resolution gamma^phi       alpha = 1.2, beta = 1.1,
    alpha beta^2 gamma^2 ~ 2, so that the cost grows about as 2^phi                       gamma = 1.15, found by a grid

B0 came out of a search over a stage's operation, kernel, squeeze ratio, skip, channels and layers (a `StageSetting`
here), for accuracy (cost / target)^-0.07 (`search_reward`). B1 to B7 have the multipliers of the authors' code, which
follow compound scaling in steps. p falls linearly from 1 at the first block, towards 1 - `drop_path`. B5 to B7
have other constants of batch norm than B0 to B4, as in torchvision's weights. Names are torchvision's; the head is
`head`, not `classifier.1`.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
from flax import linen as nn

from dlcore.models.inputs import check_images
from dlcore.models.mobilenet_v2 import KERNEL_INIT, ConvNorm, round_channels
from dlcore.models.resnet import SqueezeExcitation
from dlcore.nn import Dropout, StochasticDepth
from dlcore.nn.precision import compute_dtype, logits_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import global_avg_pool

__all__ = ["MODELS", "EfficientNet", "MBConv", "Scale", "StageSetting", "compound_scale", "search_reward"]

TORCH_NAMES = ((r"^head\.", "classifier.1."),)


class StageSetting(NamedTuple):
    """A stage: `layers` blocks, the first with `stride`; `expansion` times the channels inside.

    squeeze: units of squeeze-and-excitation as a share of the block's input, 0 for none. fused: one convolution in
    place of the first two, without squeeze-and-excitation. skip: the shortcut.
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
    """Multipliers of depth (layers), width (channels) and resolution (the side of the image)."""

    depth: float
    width: float
    resolution: float


def compound_scale(phi: float, alpha: float = 1.2, beta: float = 1.1, gamma: float = 1.15) -> Scale:
    """What a cost of 2^phi buys: depth alpha^phi, width beta^phi and resolution gamma^phi.

    Raises ValueError for bases below 1, with which more cost would buy less.
    """
    if min(alpha, beta, gamma) < 1:
        raise ValueError(f"alpha is {alpha}, beta {beta} and gamma {gamma}: each must be at least 1")
    return Scale(alpha**phi, beta**phi, gamma**phi)


def search_reward(accuracy: float, cost: float, target: float, exponent: float = -0.07) -> float:
    """accuracy (cost / target)^exponent: with -0.07, twice the cost is worth five per cent more accuracy."""
    return accuracy * (cost / target) ** exponent


class MBConv(nn.Module):
    """One block of a stage (see StageSetting), with the stride given here; dropped with 1 - `survival` in training."""

    setting: StageSetting
    stride: int = 1
    survival: float = 1.0
    epsilon: float = 1e-5
    momentum: float = 0.9
    dtype: Any = None
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, ceil(H / stride), ceil(W / stride), features]."""
        features, channels = self.setting.features, x.shape[-1]
        wide, kernel = round_channels(channels * self.setting.expansion), self.setting.kernel_size
        fields = {
            "epsilon": self.epsilon, "momentum": self.momentum, "dtype": self.dtype, "axis_name": self.axis_name,
        }  # fmt: skip
        layer = functools.partial(ConvNorm, activation=nn.silu, **fields)
        linear = functools.partial(ConvNorm, features, 1, activation=None, **fields)
        if self.setting.fused and wide == channels:
            y = layer(features, kernel, self.stride, name="block_0")(x, train)
        elif self.setting.fused:
            y = layer(wide, kernel, self.stride, name="block_0")(x, train)
            y = linear(name="block_1")(y, train)
        else:
            names, y = (f"block_{i}" for i in range(4)), x
            if wide != channels:
                y = layer(wide, 1, name=next(names))(y, train)
            y = layer(wide, kernel, self.stride, wide, name=next(names))(y, train)
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


class EfficientNet(nn.Module):
    """An EfficientNet on [B, H, W, C]. Stages: stem (stride 2), stage1, stage2, ... (B0: 2 4 8 16 16 32 32), last (32).

    settings: of each stage. width_mult and depth_mult scale its channels (to multiples of 8) and layers (upwards).
    width: channels of the stem. last: those of the last convolution, None for four times those before it. dropout: rate
    before the head. drop_path: block i of n is dropped at i / n times that. epsilon, momentum: of batch norm. remat:
    recompute each block in the backward pass. axis_name: where batch statistics are averaged under pmap.
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
    dtype: Any = None
    axis_name: str | None = None
    remat: Remat = "none"
    head_init: Any = nn.initializers.zeros

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Logits [B, num_classes], at least float32; with `train`, batch statistics are used and updated."""
        return self._forward(x, train)[0]

    def features(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """The map at the end of each stage."""
        return self._forward(x, train)[1]

    @nn.compact
    def _forward(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        check_images(self, x, "features_0/0", smallest=1)
        dtype = compute_dtype(self.dtype, x, self.variables)
        fields = {"epsilon": self.epsilon, "momentum": self.momentum, "dtype": dtype, "axis_name": self.axis_name}
        layer = functools.partial(ConvNorm, activation=nn.silu, **fields)
        x = layer(round_channels(self.stem_width * self.width_mult), stride=2, name="features_0")(x, train)
        maps, index = {"stem": x}, 0
        block = remat(MBConv, self.remat, static_argnums=(2,))
        layers = [math.ceil(setting.layers * self.depth_mult) for setting in self.settings]
        for i, setting in enumerate(self.settings):
            setting = setting._replace(features=round_channels(setting.features * self.width_mult))
            for j in range(layers[i]):
                survival, stride = 1 - self.drop_path * index / sum(layers), setting.stride if j == 0 else 1
                x = block(setting, stride, survival, **fields, name=f"features_{i + 1}_{j}")(x, train)
                index += 1
            maps[f"stage{i + 1}"] = x
        width = self.last_channel or 4 * x.shape[-1]
        x = maps["last"] = layer(width, 1, name=f"features_{len(layers) + 1}")(x, train)
        x = global_avg_pool(x.astype(logits_dtype(x.dtype)))
        x = Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(self.num_classes, dtype=x.dtype, kernel_init=self.head_init, name="head")(x), maps


def _v1(width: float, depth: float, dropout: float, **fields: Any) -> functools.partial:
    return functools.partial(EfficientNet, width_mult=width, depth_mult=depth, dropout=dropout, **fields)


def _v2(fused: tuple, separable: tuple, dropout: float, width: int = 24) -> functools.partial:
    settings = (*(StageSetting(*s, fused=True) for s in fused), *(StageSetting(*s) for s in separable))
    return functools.partial(EfficientNet, settings=settings, stem_width=width, last_channel=1280, dropout=dropout, epsilon=1e-3)


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
