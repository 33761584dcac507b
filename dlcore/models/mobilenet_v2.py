"""MobileNetV2: inverted residuals, with thin linear ends and a wide depthwise middle.

Sandler, Howard, Zhu, Zhmoginov & Chen, "MobileNetV2: inverted residuals and linear bottlenecks" (2018),
arXiv:1801.04381.

    F(x) = BN conv1x1(relu6 BN depthwise3x3(relu6 BN conv1x1(x)))       channels C, t C, t C, C'; no relu at the end
    y = x + F(x)                          where the stride is 1 and C = C'; else y = F(x)

A ResNet's bottleneck is wide at its ends; here the shortcut joins the thin ends (t = 6), which saves memory, and no
relu destroys information where channels are few. The first block has t = 1 and no first convolution. Channels are
`width_mult` times the paper's, rounded to multiples of 8; the last convolution keeps at least 1280. Names are
torchvision's; the head is `head`, not `classifier.1`.
"""

import functools
from typing import Any, Literal

import jax
from flax import linen as nn

from dlcore.choices import check_choice, check_whole_number
from dlcore.models.backbone import Backbone
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_images
from dlcore.nn import BatchNorm, Conv, Dropout, relu6
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import global_avg_pool
from dlcore.ops.checks import check_counts
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.replica import REPLICA

__all__ = ["MODELS", "ConvNorm", "InvertedResidual", "MobileNetV2", "round_channels"]

KERNEL_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
TORCH_NAMES = ((r"^head\.", "classifier.1."),)
SETTINGS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def round_channels(channels: float, divisor: int = 8, limit: float = 0.9) -> int:
    """Round channels to a multiple of `divisor`, by no more than a tenth down.

    Args:
      channels: number of channels, not necessarily whole.
      divisor: what the result is a multiple of.
      limit: share of `channels` that the result has at least.

    Returns:
      The nearest multiple (halves up, at least `divisor`), or the next one where that is less than `limit` of
      `channels`.
    """
    check_counts("channels", channels)
    check_whole_number("divisor", divisor, 1)
    nearest = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < limit * channels else nearest


Padding = Literal["both", "same"]
ConvPadding = Literal["both", "same", "end"]


class ConvNorm(CheckedFields):
    """A convolution padded to keep the size (submodule `0`), batch norm (`1`) and an activation.

    Args:
      kernel_size: side of the kernel.
      stride: stride of the convolution.
      groups: groups of channels; as many as the input's channels is depthwise.
      dilation: distance between the taps of the kernel.
      activation: function after batch norm; None for none.
      momentum: share of the running statistics that batch norm keeps at an update.
      padding: zeros around the map: both, as many on both sides; same, TensorFlow's: at most one more at the right
        and at the bottom; or end, TensorFlow's for even sides, whatever the sides are.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    groups: int = 1
    dilation: int = 1
    activation: Any = nn.relu
    epsilon: float = 1e-5
    momentum: float = 0.9
    dtype: Any = None
    axis_name: str | None = REPLICA
    padding: ConvPadding = "both"

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the layer.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, ceil(H / stride), ceil(W / stride), features].
        """
        check_choice("padding", self.padding, ConvPadding)
        side = (self.kernel_size - 1) // 2 * self.dilation
        padding = {"same": "SAME", "both": side, "end": ((side - (self.stride > 1), side),) * 2}[self.padding]
        x = Conv(
            self.features,
            (self.kernel_size,) * 2,
            strides=self.stride,
            padding=padding,
            kernel_dilation=self.dilation,
            feature_group_count=self.groups,
            use_bias=False,
            dtype=self.dtype,
            kernel_init=KERNEL_INIT,
            name="0",
        )(x)
        x = BatchNorm(not train, self.momentum, self.epsilon, self.axis_name, dtype=self.dtype, name="1")(x)
        return x if self.activation is None else self.activation(x)


class InvertedResidual(CheckedFields):
    """An inverted residual: 1x1, depthwise 3x3 and linear 1x1, plus x where the shapes agree.

    Args:
      stride: stride of the depthwise convolution.
      expansion: inner channels as a multiple of the input's; 1 leaves the first convolution out.
      activation: function after the first two batch norms.
      dilation: distance between the taps of the depthwise convolution.
    """

    features: int
    stride: int = 1
    expansion: int = 6
    dtype: Any = None
    axis_name: str | None = REPLICA
    activation: Any = relu6
    dilation: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, ceil(H / stride), ceil(W / stride), features].
        """
        hidden_channels = self.expansion * x.shape[-1]
        layer = functools.partial(
            ConvNorm, hidden_channels, activation=self.activation, dtype=self.dtype, axis_name=self.axis_name
        )
        names, y = (f"conv_{i}" for i in range(4)), x
        if self.expansion != 1:
            y = layer(kernel_size=1, name=next(names))(y, train)
        y = layer(stride=self.stride, groups=hidden_channels, dilation=self.dilation, name=next(names))(y, train)
        thin = functools.partial(Conv, use_bias=False, dtype=self.dtype, kernel_init=KERNEL_INIT)
        y = thin(self.features, (1, 1), name=next(names))(y)
        y = BatchNorm(not train, dtype=self.dtype, axis_name=self.axis_name, name=next(names))(y)
        return x + y if self.stride == 1 and x.shape[-1] == self.features else y


class MobileNetV2(Backbone):
    """A MobileNetV2 on [B, H, W, C]. Stages: stem, stage1 to stage7, last (strides 2 2 4 8 16 16 32 32 32).

    Args:
      settings: (expansion, channels, blocks, stride) of each stage.
      width_mult: multiplier of all channels, rounded to multiples of 8; the last convolution keeps at least 1280.
      stem: imagenet: a 3x3 convolution of stride 2; cifar: of stride 1, so that all strides are half as large.
    """

    num_classes: int = 1000
    settings: tuple[tuple[int, int, int, int], ...] = SETTINGS
    width_mult: float = 1.0
    dropout: float = 0.2
    stem: str = "imagenet"
    remat: Remat = "none"

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        check_choice("stem", self.stem, ("imagenet", "cifar"))
        check_images(self, x, "features_0/0", smallest=1)
        dtype = compute_dtype(self.dtype, x, self.variables)
        layer = functools.partial(ConvNorm, activation=relu6, dtype=dtype, axis_name=self.axis_name)
        stride = 2 if self.stem == "imagenet" else 1
        x = layer(round_channels(32 * self.width_mult), stride=stride, name="features_0")(x, train)
        x = self.perturb("stem", x)
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
            x = maps[f"stage{i}"] = self.perturb(f"stage{i}", x)
        width = round_channels(1280 * max(1.0, self.width_mult))
        x = maps["last"] = self.perturb("last", layer(width, kernel_size=1, name=f"features_{index}")(x, train))
        return x, maps

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        x = global_avg_pool(to_acc_dtype(x))
        x = Dropout(self.dropout, deterministic=not train)(x)
        return self._linear(x)


MODELS = {"mobilenet_v2": functools.partial(MobileNetV2)}
