"""Xception: depthwise separable convolutions, the extreme of Inception, with shortcuts.

Chollet, "Xception: deep learning with depthwise separable convolutions" (2016), arXiv:1610.02357.

    sep(x) = conv1x1(depthwise3x3(x))                     nothing between the two, neither batch norm nor activation
    F(x) = BN sep(relu(... BN sep(relu(x))))              two of them with a max pooling 3x3/2 after, or three
    y = F(x) + P x                                        P = identity, or BN conv1x1 where the shape changes

    entry flow:   conv 32/2, conv 64, blocks of 128, 256 and 728, each with stride 2
    middle flow:  eight blocks of three at 728
    exit flow:    a block of 728 and 1024 with stride 2, sep 1536, sep 2048 -> average -> C

The first two convolutions are not padded: 299 pixels become 147. Names are timm's (`legacy_xception`, whose depthwise
half is `conv1`); the head is `head`, not `fc`.
"""

import functools
from typing import Any

import jax
from flax import linen as nn

from dlcore.models.backbone import Backbone
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_images
from dlcore.nn import BatchNorm, Conv
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import max_pool
from dlcore.ops.replica import REPLICA

__all__ = ["MODELS", "SeparableConv", "Xception", "XceptionBlock"]

KERNEL_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
TORCH_NAMES = ((r"^head\.", "fc."),)


class SeparableConv(CheckedFields):
    """A depthwise 3x3 (`conv1`) and a 1x1 convolution (`pointwise`) with nothing between: linear in x."""

    features: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Apply the convolutions.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H, W, features].
        """
        conv = functools.partial(Conv, use_bias=False, dtype=self.dtype, kernel_init=KERNEL_INIT)
        channels = x.shape[-1]
        x = conv(channels, (3, 3), padding=1, feature_group_count=channels, name="conv1")(x)
        return conv(self.features, (1, 1), name="pointwise")(x)


class XceptionBlock(CheckedFields):
    """ReLU, separable convolution and batch norm, repeated, beside the shortcut.

    Args:
      widths: channels of each separable convolution.
      stride: 2 ends with a max pooling.
      start_with_relu: apply a ReLU before the first convolution.
    """

    widths: tuple[int, ...]
    stride: int = 1
    start_with_relu: bool = True
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, ceil(H / stride), ceil(W / stride), widths[-1]].
        """
        norm = functools.partial(BatchNorm, not train, dtype=self.dtype, axis_name=self.axis_name)
        y = x
        for i, features in enumerate(self.widths):
            if i > 0 or self.start_with_relu:
                y = nn.relu(y)
            index = 3 * i + self.start_with_relu
            y = SeparableConv(features, dtype=self.dtype, name=f"rep_{index}")(y)
            y = norm(name=f"rep_{index + 1}")(y)
        if self.stride != 1:
            y = max_pool(y, (3, 3), (self.stride, self.stride), padding=1)
        if self.stride != 1 or x.shape[-1] != y.shape[-1]:
            skip = functools.partial(Conv, use_bias=False, dtype=self.dtype, kernel_init=KERNEL_INIT, name="skip")
            x = norm(name="skipbn")(skip(y.shape[-1], (1, 1), self.stride)(x))
        return x + y


class Xception(Backbone):
    """Xception on [B, H, W, C]. Stages: stem, block1, block2, block3, middle, block12, last (2 4 8 16 16 32 32).

    Args:
      stem_widths: channels of the two plain convolutions.
      entry_widths: channels of the blocks of the entry flow.
      middle_blocks: blocks of three convolutions in the middle flow.
      exit_widths: channels at the end of the last block, and of the two separable convolutions after it.
    """

    num_classes: int = 1000
    stem_widths: tuple[int, int] = (32, 64)
    entry_widths: tuple[int, ...] = (128, 256, 728)
    middle_blocks: int = 8
    exit_widths: tuple[int, int, int] = (1024, 1536, 2048)
    remat: Remat = "none"

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        check_images(self, x, "conv1", smallest=7)
        dtype = compute_dtype(self.dtype, x, self.variables)
        conv = functools.partial(Conv, padding=0, use_bias=False, dtype=dtype, kernel_init=KERNEL_INIT)
        norm = functools.partial(BatchNorm, not train, dtype=dtype, axis_name=self.axis_name)
        x = nn.relu(norm(name="bn1")(conv(self.stem_widths[0], (3, 3), 2, name="conv1")(x)))
        x = nn.relu(norm(name="bn2")(conv(self.stem_widths[1], (3, 3), name="conv2")(x)))
        x = self.perturb("stem", x)
        maps = {"stem": x}
        cls = remat(XceptionBlock, self.remat, static_argnums=(2,))
        block = functools.partial(cls, dtype=dtype, axis_name=self.axis_name)
        count = len(self.entry_widths)
        for i, width in enumerate(self.entry_widths, 1):
            x = block((width, width), 2, start_with_relu=i > 1, name=f"block{i}")(x, train)
            x = maps[f"block{i}"] = self.perturb(f"block{i}", x)
        for i in range(count + 1, count + 1 + self.middle_blocks):
            x = block((width,) * 3, name=f"block{i}")(x, train)
        if self.middle_blocks:
            x = maps["middle"] = self.perturb("middle", x)
        name = f"block{count + 1 + self.middle_blocks}"
        x = maps[name] = self.perturb(name, block((width, self.exit_widths[0]), 2, name=name)(x, train))
        x = nn.relu(norm(name="bn3")(SeparableConv(self.exit_widths[1], dtype=dtype, name="conv3")(x)))
        x = nn.relu(norm(name="bn4")(SeparableConv(self.exit_widths[2], dtype=dtype, name="conv4")(x)))
        x = maps["last"] = self.perturb("last", x)
        return x, maps


MODELS = {"legacy_xception": functools.partial(Xception)}
INPUT_SHAPES = {"legacy_xception": (299, 299, 3)}
