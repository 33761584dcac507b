"""ResNeSt: split attention over the feature maps of several 3x3 convolutions.

Zhang et al., "ResNeSt: split-attention networks" (2020), arXiv:2004.08955.

    u_1 ... u_r = relu BN conv3x3(x), split by channels
    a = softmax over i of W2 relu BN(W1 mean_hw sum_i u_i), for each channel; a sigmoid where r = 1
    y = sum_i a_i u_i

It replaces the 3x3 convolution of a ResNet with a deep stem and averaging shortcuts; a map is halved by a 3x3 average
before (`pool_first`) or behind it. Names are timm's.
"""

import functools
from typing import Annotated, Any

import jax
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models.fields import CheckedFields
from dlcore.models.mobilenet_v2 import round_channels
from dlcore.models.resnet import TORCH_NAMES, ResidualBlock, ResNet, conv_and_norm, join_shortcut
from dlcore.nn import Conv
from dlcore.ops import avg_pool
from dlcore.ops.replica import REPLICA

__all__ = ["MODELS", "TORCH_NAMES", "ResNeSt", "ResNeStBlock", "SplitAttention"]


class SplitAttention(CheckedFields):
    """Attention over the parts that a 3x3 convolution computes: [B, H, W, C] -> [B, H, W, C].

    Args:
      groups: groups of channels of all convolutions (the paper's cardinality).
      radix: r, the number of parts.
    """

    groups: int = 1
    radix: int = 2
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the layer.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H, W, C].
        """
        conv, norm = conv_and_norm(self, train)
        channels, (groups, radix) = x.shape[-1], (self.groups, self.radix)
        dense = functools.partial(Conv, kernel_size=(1, 1), feature_group_count=groups, dtype=self.dtype)
        # Parts.
        u = conv(radix * channels, (3, 3), padding=1, feature_group_count=groups * radix, name="conv")(x)
        u = nn.relu(norm(name="bn0")(u)).reshape(*x.shape[:3], radix, channels)
        # Attention.
        units = max(32, round_channels(channels * radix / 4))
        a = dense(units, name="fc1")(u.sum(3).mean((1, 2), keepdims=True))
        a = dense(radix * channels, name="fc2")(nn.relu(norm(name="bn1")(a)))
        if radix == 1:
            return nn.sigmoid(a) * u[:, :, :, 0]
        a = nn.softmax(a.reshape(len(x), groups, radix, -1), axis=2)
        return (a.transpose(0, 2, 1, 3).reshape(len(x), 1, 1, radix, channels) * u).sum(3)


class ResNeStBlock(ResidualBlock):
    """1x1 convolution, split attention and 1x1 beside the shortcut.

    Args:
      radix: parts of the split attention.
      pool_first: halve the map before the split attention, not behind it.
    """

    radix: int = 2
    pool_first: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, ceil(H / stride), ceil(W / stride), 4 features].
        """
        conv, norm = conv_and_norm(self, train)
        width = self.features * self.base_width // 64 * self.groups
        y = nn.relu(norm(name="bn1")(conv(width, (1, 1), name="conv1")(x)))
        layer = SplitAttention(self.groups, self.radix, self.dtype, self.axis_name, name="conv2")
        halve = functools.partial(avg_pool, window_shape=(3, 3), strides=(self.stride,) * 2, padding=1)
        if self.stride > 1 and self.pool_first:
            y = layer(halve(y), train)
        else:
            y = halve(layer(y, train)) if self.stride > 1 else layer(y, train)
        y = conv(4 * self.features, (1, 1), name="conv3")(y)
        return join_shortcut(self, x, y, "bn3", conv, norm)


class ResNeSt(ResNet):
    """A ResNet of `ResNeStBlock`s on [B, H, W, C].

    Args:
      radix: parts of the split attention.
      pool_first: halve maps before the split attention, not behind it.
    """

    block: Any = ResNeStBlock
    stem: str = "deep"
    pool_shortcut: Annotated[bool, "if changed"] = True
    radix: Annotated[int, Range(1)] = 2
    pool_first: bool = False

    def _block(self) -> Any:
        return functools.partial(super()._block(), radix=self.radix, pool_first=self.pool_first)


MODELS = {
    "resnest14d": functools.partial(ResNeSt, stages=(1, 1, 1, 1)),
    "resnest26d": functools.partial(ResNeSt, stages=(2, 2, 2, 2)),
    "resnest50d": functools.partial(ResNeSt),
    "resnest101e": functools.partial(ResNeSt, stages=(3, 4, 23, 3), stem_width=128),
    "resnest200e": functools.partial(ResNeSt, stages=(3, 24, 36, 3), stem_width=128),
    "resnest269e": functools.partial(ResNeSt, stages=(3, 30, 48, 8), stem_width=128),
    "resnest50d_1s4x24d": functools.partial(ResNeSt, groups=4, base_width=24, radix=1, pool_first=True),
    "resnest50d_4s2x40d": functools.partial(ResNeSt, groups=2, base_width=40, radix=4, pool_first=True),
}
