"""MobileNetV2: inverted residuals, whose ends are thin and linear and whose middle is wide and depthwise.

Sandler, Howard, Zhu, Zhmoginov & Chen, "MobileNetV2: inverted residuals and linear bottlenecks" (2018),
arXiv:1801.04381.

    F(x) = BN conv1x1(relu6 BN depthwise3x3(relu6 BN conv1x1(x)))       channels C, t C, t C, C'; no relu at the end
    y = x + F(x)                          where the stride is 1 and C = C'; else y = F(x)

A residual block of ResNet is wide at its ends; here the shortcut joins the thin ends (t = 6), so that what must be held
is small, and no relu destroys what few channels hold. The first block has t = 1 and no first convolution. Channels are
`width_mult` times those of the paper, rounded to multiples of 8; the last convolution gets no thinner than 1280. Names
are torchvision's; the head is `head`, not `classifier.1`.
"""

import functools
from typing import Any

import jax
from flax import linen as nn

from dlcore.models.inputs import check_images
from dlcore.nn import BatchNorm, Conv, Dropout, relu6
from dlcore.nn.precision import compute_dtype, logits_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import global_avg_pool

__all__ = ["MODELS", "ConvNorm", "InvertedResidual", "MobileNetV2", "round_channels"]

KERNEL_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
TORCH_NAMES = ((r"^head\.", "classifier.1."),)
SETTINGS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def round_channels(channels: float, divisor: int = 8) -> int:
    """The multiple of `divisor` nearest to `channels` (halves up), or the next where that is less than 0.9 of it."""
    nearest = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * channels else nearest


class ConvNorm(nn.Module):
    """A convolution (submodule `0`, padded to keep the size), batch norm (`1`) and an activation, None for none."""

    features: int
    kernel_size: int = 3
    stride: int = 1
    groups: int = 1
    activation: Any = nn.relu
    epsilon: float = 1e-5
    momentum: float = 0.9
    dtype: Any = None
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, ceil(H / stride), ceil(W / stride), features]."""
        x = Conv(
            self.features,
            (self.kernel_size,) * 2,
            strides=self.stride,
            padding=(self.kernel_size - 1) // 2,
            feature_group_count=self.groups,
            use_bias=False,
            dtype=self.dtype,
            kernel_init=KERNEL_INIT,
            name="0",
        )(x)
        x = BatchNorm(not train, self.momentum, self.epsilon, self.axis_name, dtype=self.dtype, name="1")(x)
        return x if self.activation is None else self.activation(x)


class InvertedResidual(nn.Module):
    """1x1 to `expansion` times the channels, 3x3 depthwise, linear 1x1 to `features`; x is added where it fits."""

    features: int
    stride: int = 1
    expansion: int = 6
    dtype: Any = None
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, ceil(H / stride), ceil(W / stride), features]."""
        wide = self.expansion * x.shape[-1]
        layer = functools.partial(ConvNorm, wide, activation=relu6, dtype=self.dtype, axis_name=self.axis_name)
        names, y = (f"conv_{i}" for i in range(4)), x
        if self.expansion != 1:
            y = layer(kernel_size=1, name=next(names))(y, train)
        y = layer(stride=self.stride, groups=wide, name=next(names))(y, train)
        thin = functools.partial(Conv, use_bias=False, dtype=self.dtype, kernel_init=KERNEL_INIT)
        y = thin(self.features, (1, 1), name=next(names))(y)
        y = BatchNorm(not train, dtype=self.dtype, axis_name=self.axis_name, name=next(names))(y)
        return x + y if self.stride == 1 and x.shape[-1] == self.features else y


class MobileNetV2(nn.Module):
    """A MobileNetV2 on [B, H, W, C]. Stages: stem (stride 2), stage1 to stage7 (2, 4, 8, 16, 16, 32, 32), last (32).

    settings: (expansion, channels, blocks, stride) of each stage. width_mult: multiplies all channels. dropout: rate
    before the head. stem: "imagenet" has stride 2, "cifar" stride 1: all strides are half those above. remat: recompute
    each block in the backward pass. axis_name: where batch statistics are averaged under pmap.
    """

    num_classes: int = 1000
    settings: tuple[tuple[int, int, int, int], ...] = SETTINGS
    width_mult: float = 1.0
    dropout: float = 0.2
    stem: str = "imagenet"
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
        if self.stem not in ("imagenet", "cifar"):
            raise ValueError(f"stem is {self.stem!r}: imagenet and cifar are allowed")
        check_images(self, x, "features_0/0", smallest=1)
        dtype = compute_dtype(self.dtype, x, self.variables)
        layer = functools.partial(ConvNorm, activation=relu6, dtype=dtype, axis_name=self.axis_name)
        stride = 2 if self.stem == "imagenet" else 1
        x = layer(round_channels(32 * self.width_mult), stride=stride, name="features_0")(x, train)
        maps, index = {"stem": x}, 1
        block = remat(InvertedResidual, self.remat, static_argnums=(2,))
        for i, (expansion, channels, blocks, stride) in enumerate(self.settings, 1):
            for j in range(blocks):
                x = block(
                    round_channels(channels * self.width_mult),
                    stride=stride if j == 0 else 1,
                    expansion=expansion,
                    dtype=dtype,
                    axis_name=self.axis_name,
                    name=f"features_{index}",
                )(x, train)
                index += 1
            maps[f"stage{i}"] = x
        width = round_channels(1280 * max(1.0, self.width_mult))
        x = maps["last"] = layer(width, kernel_size=1, name=f"features_{index}")(x, train)
        x = global_avg_pool(x.astype(logits_dtype(x.dtype)))
        x = Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(self.num_classes, dtype=x.dtype, kernel_init=self.head_init, name="head")(x), maps


MODELS = {"mobilenet_v2": functools.partial(MobileNetV2)}
