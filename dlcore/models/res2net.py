"""Res2Net: a residual block whose 3x3 convolution is a chain of narrow ones, so that one block sees several scales.

Gao, Cheng, Zhao, Zhang, Yang & Torr, "Res2Net: a new multi-scale backbone architecture" (2019), arXiv:1904.01169.

    x_1 ... x_s = relu BN conv1x1(x), split by channels
    y_1 = K_1(x_1),  y_i = K_i(x_i + y_(i-1)) for 1 < i < s,  y_s = x_s          K = relu BN conv3x3
    F(x) = BN conv1x1([y_1 ... y_s])

A block whose shortcut is projected reads the x_i alone, and averages the last over 3x3. Names are timm's.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.models.resnet import TORCH_NAMES, ResidualBlock, ResNet, conv_and_norm, join_shortcut
from dlcore.ops import avg_pool

__all__ = ["MODELS", "TORCH_NAMES", "Res2Net", "Res2NetBlock"]


class Res2NetBlock(ResidualBlock):
    """1x1 convolution, a chain of 3x3 convolutions and 1x1 beside the shortcut.

    Args:
      scale: s, the number of parts; each has `features * base_width / 64` channels for each group.
    """

    base_width: int = 26
    scale: int = 4

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
        y = nn.relu(norm(name="bn1")(conv(self.scale * width, (1, 1), name="conv1")(x)))
        parts, projected = jnp.split(y, self.scale, -1), self.stride != 1 or x.shape[-1] != 4 * self.features
        outputs: list[jax.Array] = []
        for i, part in enumerate(parts[:-1]):
            part = part if i == 0 or projected else part + outputs[-1]
            layer = conv(width, (3, 3), self.stride, padding=1, feature_group_count=self.groups, name=f"convs_{i}")
            outputs.append(nn.relu(norm(name=f"bns_{i}")(layer(part))))
        last = avg_pool(parts[-1], (3, 3), (self.stride,) * 2, padding=1) if projected else parts[-1]
        y = conv(4 * self.features, (1, 1), name="conv3")(jnp.concatenate([*outputs, last], -1))
        return join_shortcut(self, x, y, "bn3", conv, norm)


class Res2Net(ResNet):
    """A ResNet of `Res2NetBlock`s on [B, H, W, C].

    Args:
      scale: parts of a block.
    """

    block: Any = Res2NetBlock
    base_width: int = 26
    scale: int = 4

    def _block(self) -> Any:
        return functools.partial(super()._block(), scale=self.scale)


DEEP = {"stem": "deep", "pool_shortcut": True}
MODELS = {
    "res2net50_26w_4s": functools.partial(Res2Net),
    "res2net101_26w_4s": functools.partial(Res2Net, stages=(3, 4, 23, 3)),
    "res2net50_26w_6s": functools.partial(Res2Net, scale=6),
    "res2net50_26w_8s": functools.partial(Res2Net, scale=8),
    "res2net50_48w_2s": functools.partial(Res2Net, base_width=48, scale=2),
    "res2net50_14w_8s": functools.partial(Res2Net, base_width=14, scale=8),
    "res2next50": functools.partial(Res2Net, base_width=4, groups=8),
    "res2net50d": functools.partial(Res2Net, **DEEP),
    "res2net101d": functools.partial(Res2Net, stages=(3, 4, 23, 3), **DEEP),
}
