"""MobileNetV3: inverted residuals with squeeze-and-excitation and hard swish, found by an architecture search.

Howard et al., "Searching for MobileNetV3" (2019), arXiv:1905.02244.

    F(x) = BN conv1x1(SE(h BN depthwise(h BN conv1x1(x))))    h = relu, or hard swish x relu6(x + 3) / 6 in deep layers
    y = x + F(x)                                                where the stride is 1 and the channels stay
    SE gate = relu6(W2 relu(W1 mean) + 3) / 6                   a hard sigmoid, from a quarter of the channels
    last conv1x1 -> average -> Dense -> hard swish -> head      so the expensive last layers see one pixel

Batch norm has epsilon 0.001 and momentum 0.99. Names are torchvision's; the head is `head`, not `classifier.3`.
"""

import functools
from typing import Any, NamedTuple

import jax
from flax import linen as nn

from dlcore.models.backbone import Backbone
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_images
from dlcore.models.mobilenet_v2 import KERNEL_INIT, ConvNorm, round_channels
from dlcore.models.resnet import SqueezeExcitation
from dlcore.nn import Dense, Dropout, hard_sigmoid, hard_swish
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import global_avg_pool
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.replica import REPLICA

__all__ = ["MODELS", "BlockSetting", "MobileNetV3", "MobileNetV3Block"]

TORCH_NAMES = ((r"^head\.", "classifier.3."),)
NORM = {"epsilon": 0.001, "momentum": 0.99}


class BlockSetting(NamedTuple):
    """One row of the paper's tables 1 and 2.

    Args:
      kernel_size: side of the depthwise kernel.
      expanded: channels inside the block.
      features: output channels.
      use_se: squeeze-and-excitation after the depthwise convolution.
      use_hs: hard swish in place of the ReLU.
      stride: stride of the depthwise convolution.
      dilation: distance between its taps; above 1 its stride is 1, whatever `stride` says.
    """

    kernel_size: int
    expanded: int
    features: int
    use_se: bool
    use_hs: bool
    stride: int
    dilation: int = 1


LARGE = (
    BlockSetting(3, 16, 16, False, False, 1),
    BlockSetting(3, 64, 24, False, False, 2),
    BlockSetting(3, 72, 24, False, False, 1),
    BlockSetting(5, 72, 40, True, False, 2),
    BlockSetting(5, 120, 40, True, False, 1),
    BlockSetting(5, 120, 40, True, False, 1),
    BlockSetting(3, 240, 80, False, True, 2),
    BlockSetting(3, 200, 80, False, True, 1),
    BlockSetting(3, 184, 80, False, True, 1),
    BlockSetting(3, 184, 80, False, True, 1),
    BlockSetting(3, 480, 112, True, True, 1),
    BlockSetting(3, 672, 112, True, True, 1),
    BlockSetting(5, 672, 160, True, True, 2),
    BlockSetting(5, 960, 160, True, True, 1),
    BlockSetting(5, 960, 160, True, True, 1),
)
SMALL = (
    BlockSetting(3, 16, 16, True, False, 2),
    BlockSetting(3, 72, 24, False, False, 2),
    BlockSetting(3, 88, 24, False, False, 1),
    BlockSetting(5, 96, 40, True, True, 2),
    BlockSetting(5, 240, 40, True, True, 1),
    BlockSetting(5, 240, 40, True, True, 1),
    BlockSetting(5, 120, 48, True, True, 1),
    BlockSetting(5, 144, 48, True, True, 1),
    BlockSetting(5, 288, 96, True, True, 2),
    BlockSetting(5, 576, 96, True, True, 1),
    BlockSetting(5, 576, 96, True, True, 1),
)


class MobileNetV3Block(CheckedFields):
    """An inverted residual: 1x1 (if it widens), depthwise, squeeze-and-excitation and linear 1x1.

    Args:
      setting: the block's row of the table.
    """

    setting: BlockSetting
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, ceil(H / stride), ceil(W / stride), setting.features]; the stride is 1 where the block is dilated.
        """
        setting = self.setting
        hidden_channels, shape = setting.expanded, {"dtype": self.dtype, "axis_name": self.axis_name}
        layer = functools.partial(ConvNorm, activation=hard_swish if setting.use_hs else nn.relu, **NORM, **shape)
        names, y = (f"block_{i}" for i in range(4)), x
        if hidden_channels != x.shape[-1]:
            y = layer(hidden_channels, 1, name=next(names))(y, train)
        stride = setting.stride if setting.dilation == 1 else 1
        y = layer(hidden_channels, setting.kernel_size, stride, hidden_channels, setting.dilation, name=next(names))(
            y, train
        )
        if setting.use_se:
            fields = {"gate": hard_sigmoid, "dtype": self.dtype, "kernel_init": KERNEL_INIT}
            y = SqueezeExcitation(round_channels(hidden_channels // 4), **fields, name=next(names))(y)
        y = ConvNorm(setting.features, 1, activation=None, **NORM, **shape, name=next(names))(y, train)
        return x + y if setting.stride == 1 and x.shape[-1] == setting.features else y


class MobileNetV3(Backbone):
    """A MobileNetV3 on [B, H, W, C]. Stages: stem (stride 2), stage1, ... (one for each stride), last (stride 32).

    Args:
      settings: one BlockSetting a block.
      hidden: units of the dense layer before the head.
      width_mult: multiplier of all channels, rounded to multiples of 8.
      first_blocks: `features` returns the map behind the first block of each strided stage too, stage2_first, ..., of
        which LR-ASPP reads one.
      dilate: in the last stage, keep the size of the map (stride 16) and dilate the depthwise convolutions by 2.
    """

    num_classes: int = 1000
    settings: tuple[BlockSetting, ...] = LARGE
    hidden: int = 1280
    width_mult: float = 1.0
    first_blocks: bool = False
    dilate: bool = False
    dropout: float = 0.2
    remat: Remat = "none"

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        check_images(self, x, "features_0/0", smallest=1)
        dtype = compute_dtype(self.dtype, x, self.variables)
        shape = {"dtype": dtype, "axis_name": self.axis_name}
        width = lambda channels: round_channels(channels * self.width_mult)  # noqa: E731
        layer = functools.partial(ConvNorm, activation=hard_swish, **NORM, **shape)
        x = layer(width(16), stride=2, name="features_0")(x, train)
        x = self.perturb("stem", x)
        maps = {"stem": x}
        block = remat(MobileNetV3Block, self.remat, static_argnums=(2,))
        strided, stages = [i for i, setting in enumerate(self.settings, 1) if setting.stride > 1], 1
        for i, setting in enumerate(self.settings, 1):
            scaled = setting._replace(expanded=width(setting.expanded), features=width(setting.features))
            if self.dilate and i >= strided[-1]:
                scaled = scaled._replace(dilation=2)
            x = block(scaled, **shape, name=f"features_{i}")(x, train)
            if self.first_blocks and i in strided:
                x = maps[f"stage{stages}_first"] = self.perturb(f"stage{stages}_first", x)
            if i == len(self.settings) or i + 1 in strided:
                x = maps[f"stage{stages}"] = self.perturb(f"stage{stages}", x)
                stages += 1
        x = layer(6 * x.shape[-1], 1, name=f"features_{len(self.settings) + 1}")(x, train)
        x = maps["last"] = self.perturb("last", x)
        return x, maps

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        x = global_avg_pool(to_acc_dtype(x))
        normal = nn.initializers.normal(0.01)
        hidden = round_channels(self.hidden * self.width_mult)
        x = hard_swish(Dense(hidden, dtype=x.dtype, kernel_init=normal, name="classifier_0")(x))
        x = Dropout(self.dropout, deterministic=not train)(x)
        return self._linear(x)


MODELS = {
    "mobilenet_v3_large": functools.partial(MobileNetV3),
    "mobilenet_v3_small": functools.partial(MobileNetV3, settings=SMALL, hidden=1024),
}
