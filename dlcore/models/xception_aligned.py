"""Aligned Xception, the backbone of DeepLabv3+: Xception with strides in place of poolings and more batch norm.

Chen, Zhu, Papandreou, Schroff & Adam, "Encoder-decoder with atrous separable convolution for semantic image
segmentation" (2018), arXiv:1802.02611, section 3.2, after Chollet 2016, arXiv:1610.02357.

    sep(x) = BN conv1x1(BN depthwise3x3(x))               batch norm between the two, which Xception does not have
    F(x) = sep(relu sep(relu sep(relu x)))                a stride is on the last depthwise convolution
    y = F(x) + P x                                        P = identity, or BN conv1x1 where the shape changes
    last block:  relu after every batch norm, and no shortcut

    conv 32/2, conv 64 -> 128/2, 256/2, 728/2 -> 8 or 16 blocks of 728 -> (728, 1024, 1024)/2, (1536, 1536, 2048) -> C

Batch norm has epsilon 0.001. Names are timm's; the head is `head`, not `head.fc`.
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
from dlcore.ops.replica import REPLICA

__all__ = ["MODELS", "AlignedBlock", "AlignedXception", "ConvNorm", "SeparableConvNorm"]

KERNEL_INIT = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")  # torch's default
TORCH_NAMES = ((r"\.stack_", ".stack."), (r"^head\.", "head.fc."))


class ConvNorm(CheckedFields):
    """A convolution padded to keep the size (`conv`), batch norm (`bn`) and a ReLU.

    Args:
      kernel_size: side of the kernel.
      stride: stride of the convolution.
      activate: apply the ReLU.
    """

    features: int
    kernel_size: int
    stride: int = 1
    activate: bool = True
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the layer.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, ceil(H / stride), ceil(W / stride), features].
        """
        x = _conv_norm(self, train, x, self.features, self.kernel_size, self.stride)
        return nn.relu(x) if self.activate else x


class SeparableConvNorm(CheckedFields):
    """A depthwise 3x3 and a 1x1 convolution, with batch norm after both.

    Args:
      stride: stride of the depthwise convolution.
      activate: apply a ReLU after each batch norm.
    """

    features: int
    stride: int = 1
    activate: bool = False
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the layers.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, ceil(H / stride), ceil(W / stride), features].
        """
        act = nn.relu if self.activate else lambda x: x
        channels = x.shape[-1]
        x = act(_conv_norm(self, train, x, channels, 3, self.stride, channels, "_dw"))
        return act(_conv_norm(self, train, x, self.features, 1, suffix="_pw"))


def _conv_norm(
    module: nn.Module,
    train: bool,
    x: jax.Array,
    features: int,
    size: int,
    stride: int = 1,
    groups: int = 1,
    suffix: str = "",
) -> jax.Array:
    """Apply a convolution and batch norm, as submodules `conv` and `bn` with the suffix."""
    conv = Conv(
        features,
        (size, size),
        strides=stride,
        padding=size // 2,
        feature_group_count=groups,
        use_bias=False,
        dtype=module.dtype,
        kernel_init=KERNEL_INIT,
        name=f"conv{suffix}",
    )
    norm = BatchNorm(not train, epsilon=0.001, dtype=module.dtype, axis_name=module.axis_name, name=f"bn{suffix}")
    return norm(conv(x))


class AlignedBlock(CheckedFields):
    """Three separable convolutions beside the shortcut.

    Args:
      widths: channels of each separable convolution.
      stride: stride of the last one.
      relu_first: apply a ReLU before each separable convolution; otherwise after every batch norm.
      skip: add the shortcut.
    """

    widths: tuple[int, int, int]
    stride: int = 1
    relu_first: bool = True
    skip: bool = True
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
        fields = {"dtype": self.dtype, "axis_name": self.axis_name}
        y = x
        for i, width in enumerate(self.widths, 1):
            y = nn.relu(y) if self.relu_first else y
            stride = self.stride if i == len(self.widths) else 1
            y = SeparableConvNorm(width, stride, not self.relu_first, **fields, name=f"stack_conv{i}")(y, train)
        if not self.skip:
            return y
        if self.stride != 1 or x.shape[-1] != y.shape[-1]:
            x = ConvNorm(y.shape[-1], 1, self.stride, activate=False, **fields, name="shortcut")(x, train)
        return x + y


class AlignedXception(Backbone):
    """An aligned Xception on [B, H, W, C]. Stages: stem, entry0, entry1, middle, exit (strides 2, 4, 8, 16, 32).

    Args:
      entry_widths: channels of the blocks of the entry flow, each of stride 2.
      middle_blocks: blocks of stride 1 in the middle flow.
      exit_widths: channels of the three convolutions of each of the last two blocks.
    """

    num_classes: int = 1000
    entry_widths: tuple[int, ...] = (128, 256, 728)
    middle_blocks: int = 8
    exit_widths: tuple[tuple[int, int, int], tuple[int, int, int]] = ((728, 1024, 1024), (1536, 1536, 2048))
    remat: Remat = "none"

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        check_images(self, x, "stem_0/conv", smallest=1)
        dtype = compute_dtype(self.dtype, x, self.variables)
        fields = {"dtype": dtype, "axis_name": self.axis_name}
        x = ConvNorm(32, 3, 2, **fields, name="stem_0")(x, train)
        x = ConvNorm(64, 3, **fields, name="stem_1")(x, train)
        x = self.perturb("stem", x)
        maps = {"stem": x}
        cls = remat(AlignedBlock, self.remat, static_argnums=(2,))
        block, index = functools.partial(cls, **fields), 0
        for i, width in enumerate(self.entry_widths):
            x = block((width,) * 3, 2, name=f"blocks_{index}")(x, train)
            if i + 1 < len(self.entry_widths):
                x = maps[f"entry{i}"] = self.perturb(f"entry{i}", x)
            index += 1
        for _ in range(self.middle_blocks):
            x = block((width,) * 3, name=f"blocks_{index}")(x, train)
            index += 1
        x = maps["middle"] = self.perturb("middle", x)
        x = block(self.exit_widths[0], 2, name=f"blocks_{index}")(x, train)
        last = block(self.exit_widths[1], relu_first=False, skip=False, name=f"blocks_{index + 1}")
        x = maps["exit"] = self.perturb("exit", last(x, train))
        return x, maps


MODELS = {
    "xception41": functools.partial(AlignedXception),
    "xception65": functools.partial(AlignedXception, middle_blocks=16),
}
INPUT_SHAPES = dict.fromkeys(MODELS, (299, 299, 3))
