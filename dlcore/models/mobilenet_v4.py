"""MobileNetV4: universal inverted bottlenecks, and in the hybrid sizes attention with one head of keys and values.

Qin et al., "MobileNetV4: universal models for the mobile ecosystem" (2024), arXiv:2404.10518.

    UIB(x) = x + gamma BN conv1x1(f BN depthwise(f BN conv1x1(BN depthwise(x))))    both depthwise layers are optional

                            first depthwise     second depthwise
    inverted bottleneck     -                   yes
    ConvNeXt-like           yes                 -
    extra depthwise         yes                 yes
    feed forward            -                   -

    MQA(x) = x + gamma W_O concat_h(softmax(Q_h K^T / sqrt(d)) V)       Q_h = W_Q^h BN(x),  K = W_K D(x),  V = W_V D'(x)

All heads of mobile multi-query attention share keys and values, which D and D', depthwise convolutions of stride 2
with batch norm, shrink where the map is large (D(x) = BN(x) where not). f is a ReLU, in hybrid_large GELU; gamma, a
scale a channel, is in the hybrid sizes alone. The last convolution follows the average over the map. Names are timm's,
whose published weights load unchanged; its variants with antialiasing are other networks.
"""

import functools
from typing import Any, Literal, NamedTuple

import jax
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.models.backbone import Backbone
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_images
from dlcore.models.mobilenet_v2 import ConvNorm, round_channels
from dlcore.nn import BatchNorm, Dropout, MultiHeadAttention, drop_path, gelu, relu
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import global_avg_pool
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.replica import REPLICA

__all__ = ["MODELS", "BlockSetting", "MobileAttention", "MobileNetV4", "UniversalBottleneck"]

TORCH_NAMES = (
    (r"\.layer_scale$", ".layer_scale.gamma"),
    (r"^stem\.0\.", "conv_stem."),
    (r"^stem\.1\.", "bn1."),
    (r"^(blocks\.\d+\.\d+)\.0\.", r"\1.conv."),
    (r"^(blocks\.\d+\.\d+)\.1\.", r"\1.bn1."),
    (r"\.(conv_exp|conv_pwl)\.0\.", r".\1."),
    (r"\.conv_exp\.1\.", ".bn1."),
    (r"\.conv_pwl\.1\.", ".bn2."),
    (r"\.(dw_start|pw_exp|dw_mid|pw_proj)\.0\.", r".\1.conv."),
    (r"\.(dw_start|pw_exp|dw_mid|pw_proj)\.1\.", r".\1.bn."),
    (r"\.attn\.(query|key|value)\.", r".attn.\1.proj."),
    (r"\.attn\.proj\.", ".attn.output.proj."),
    (r"\.(key|value)_down\.0\.", r".attn.\1.down_conv."),
    (r"\.(key|value)_down\.1\.", r".attn.\1.norm."),
    (r"^conv_head\.0\.", "conv_head."),
    (r"^conv_head\.1\.", "norm_head."),
    (r"^head\.", "classifier."),
)


class BlockSetting(NamedTuple):
    """One block.

    Args:
      kind: conv: a convolution; fused: a dense one that widens and a 1x1 one; uib: a universal inverted bottleneck;
        mqa: mobile multi-query attention.
      features: output channels.
      kernel_size: side of the kernel, of the second depthwise one in uib, where 0 leaves it out.
      stride: stride of the block; of keys and values in mqa.
      expansion: inner channels as a multiple of the input's.
      start_kernel: side of uib's first depthwise kernel; 0 leaves it out.
      num_heads: heads of queries in mqa.
      head_features: channels of a head in mqa.
    """

    kind: Literal["conv", "fused", "uib", "mqa"]
    features: int
    kernel_size: int = 0
    stride: int = 1
    expansion: int = 4
    start_kernel: int = 0
    num_heads: int = 4
    head_features: int = 64


def _uib(features: int, start: int, middle: int, expansion: int = 4, stride: int = 1) -> BlockSetting:
    return BlockSetting("uib", features, middle, stride, expansion, start)


def _mqa(features: int, num_heads: int = 4, head_features: int = 64, stride: int = 1) -> BlockSetting:
    return BlockSetting("mqa", features, 3, stride, num_heads=num_heads, head_features=head_features)


LAST = (BlockSetting("conv", 960, 1),)
SMALL = (
    (BlockSetting("conv", 32, 3, 2), BlockSetting("conv", 32, 1)),
    (BlockSetting("conv", 96, 3, 2), BlockSetting("conv", 64, 1)),
    (_uib(96, 5, 5, 3, 2), *[_uib(96, 0, 3, 2)] * 4, _uib(96, 3, 0)),
    (*(_uib(128, 3, 3, 6, 2), _uib(128, 5, 5), _uib(128, 0, 5), _uib(128, 0, 5, 3)), *[_uib(128, 0, 3)] * 2),
    LAST,
)
MEDIUM_FRONT = ((BlockSetting("fused", 48, 3, 2),), (_uib(80, 3, 5, 4, 2), _uib(80, 3, 3, 2)))
MEDIUM = (
    *MEDIUM_FRONT,
    (
        *(_uib(160, 3, 5, 6, 2), _uib(160, 3, 3), _uib(160, 3, 3), _uib(160, 3, 5), _uib(160, 3, 3)),
        *(_uib(160, 3, 0), _uib(160, 0, 0, 2), _uib(160, 3, 0)),
    ),
    (
        *(_uib(256, 5, 5, 6, 2), _uib(256, 5, 5), _uib(256, 3, 5), _uib(256, 3, 5), _uib(256, 0, 0), _uib(256, 3, 0)),
        *(_uib(256, 3, 5, 2), _uib(256, 5, 5), _uib(256, 0, 0), _uib(256, 0, 0), _uib(256, 5, 0, 2)),
    ),
    LAST,
)
LARGE_FRONT = ((BlockSetting("fused", 48, 3, 2),), (_uib(96, 3, 5, 4, 2), _uib(96, 3, 3)))
_DEEP = (*[_uib(512, 5, 5)] * 3, _uib(512, 5, 0), _uib(512, 5, 3), *[_uib(512, 5, 0)] * 2, _uib(512, 5, 3))
LARGE = (
    *LARGE_FRONT,
    (_uib(192, 3, 5, 4, 2), *[_uib(192, 3, 3)] * 3, _uib(192, 3, 5), *[_uib(192, 5, 3)] * 5, _uib(192, 3, 0)),
    (_uib(512, 5, 5, 4, 2), *_DEEP, _uib(512, 5, 5), *[_uib(512, 5, 0)] * 3),
    LAST,
)
HYBRID_MEDIUM = (
    *MEDIUM_FRONT,
    (
        *(_uib(160, 3, 5, 6, 2), _uib(160, 0, 0, 2), _uib(160, 3, 3), _uib(160, 3, 5)),
        *(_mqa(160, stride=2), _uib(160, 3, 3), _mqa(160, stride=2), _uib(160, 3, 0)),
        *(_mqa(160, stride=2), _uib(160, 3, 3), _mqa(160, stride=2), _uib(160, 3, 0)),
    ),
    (
        *(_uib(256, 5, 5, 6, 2), _uib(256, 5, 5), _uib(256, 3, 5), _uib(256, 3, 5), _uib(256, 0, 0, 2)),
        *(_uib(256, 3, 5, 2), _uib(256, 0, 0, 2), _uib(256, 0, 0), _mqa(256), _uib(256, 3, 0), _mqa(256)),
        *(_uib(256, 5, 5), _mqa(256), _uib(256, 5, 0), _mqa(256), _uib(256, 5, 0)),
    ),
    LAST,
)
HYBRID_LARGE = (
    *LARGE_FRONT,
    (
        *(_uib(192, 3, 5, 4, 2), *[_uib(192, 3, 3)] * 3, _uib(192, 3, 5), *[_uib(192, 5, 3)] * 2),
        *(_mqa(192, 8, 48, 2), _uib(192, 5, 3)) * 3,
        *(_mqa(192, 8, 48, 2), _uib(192, 3, 0)),
    ),
    (_uib(512, 5, 5, 4, 2), *_DEEP, _uib(512, 5, 5), *(_mqa(512, 8), _uib(512, 5, 0)) * 4),
    LAST,
)


class UniversalBottleneck(CheckedFields):
    """A universal inverted bottleneck; the shortcut is added where the stride is 1 and the channels stay.

    Args:
      setting: the block.
      activation: function after batch norm, but not at the ends of the block.
      layer_scale: initial value of gamma, the gain of each channel of the branch; None: no gain.
    """

    setting: BlockSetting
    activation: Any = relu
    layer_scale: float | None = None
    drop_path: float = 0.0
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, ceil(H / stride), ceil(W / stride), features].
        """
        setting, channels, y = self.setting, x.shape[-1], x
        hidden_channels = round_channels(channels * setting.expansion)
        layer = functools.partial(ConvNorm, dtype=self.dtype, axis_name=self.axis_name)
        if setting.start_kernel:
            stride = 1 if setting.kernel_size else setting.stride
            y = layer(channels, setting.start_kernel, stride, channels, activation=None, name="dw_start")(y, train)
        y = layer(hidden_channels, 1, activation=self.activation, name="pw_exp")(y, train)
        if setting.kernel_size:
            middle = layer(
                hidden_channels,
                setting.kernel_size,
                setting.stride,
                hidden_channels,
                activation=self.activation,
                name="dw_mid",
            )
            y = middle(y, train)
        y = layer(setting.features, 1, activation=None, name="pw_proj")(y, train)
        y = _scaled(self, y)
        has_skip = setting.stride == 1 and channels == setting.features
        return x + drop_path(y, self.drop_path, train) if has_skip else y


class MobileAttention(CheckedFields):
    """Attention of several heads of queries to one head of keys and values, beside the shortcut.

    Args:
      setting: the block, whose stride shrinks keys and values.
      layer_scale: initial value of gamma, the gain of each channel of the branch; None: no gain.
    """

    setting: BlockSetting
    layer_scale: float | None = None
    drop_path: float = 0.0
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H, W, C].
        """
        setting, channels = self.setting, x.shape[-1]
        fields = {"dtype": self.dtype, "axis_name": self.axis_name}
        y = BatchNorm(not train, **fields, name="norm")(x)

        def shrunk(name: str) -> jax.Array:
            if setting.stride == 1:
                return y
            layer = ConvNorm(
                channels, setting.kernel_size, setting.stride, channels, activation=None, **fields, name=name
            )
            return layer(y, train)

        query, key, value = (m.reshape(m.shape[0], -1, channels) for m in (y, shrunk("key_down"), shrunk("value_down")))
        attention = MultiHeadAttention(
            setting.num_heads,
            qkv_features=setting.num_heads * setting.head_features,
            num_kv_heads=1,
            use_bias=False,
            dtype=self.dtype,
            name="attn",
        )
        y = _scaled(self, attention(query, key, value).reshape(x.shape))
        return x + drop_path(y, self.drop_path, train)


def _scaled(block: UniversalBottleneck | MobileAttention, y: jax.Array) -> jax.Array:
    if block.layer_scale is None:
        return y
    return y * block.param("layer_scale", nn.initializers.constant(block.layer_scale), y.shape[-1:]).astype(y.dtype)


class FusedBottleneck(CheckedFields):
    """A dense convolution that widens, and a linear 1x1 one, without a shortcut.

    Args:
      setting: the block.
      activation: function after the first batch norm.
    """

    setting: BlockSetting
    activation: Any = relu
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, ceil(H / stride), ceil(W / stride), features].
        """
        setting, layer = self.setting, functools.partial(ConvNorm, dtype=self.dtype, axis_name=self.axis_name)
        hidden_channels = round_channels(x.shape[-1] * setting.expansion)
        x = layer(hidden_channels, setting.kernel_size, setting.stride, activation=self.activation, name="conv_exp")(
            x, train
        )
        return layer(setting.features, 1, activation=None, name="conv_pwl")(x, train)


class MobileNetV4(Backbone):
    """A MobileNetV4 on [B, H, W, C]. Stages: stem, stage1 to stage5 (strides 2, 4, 8, 16, 32, 32).

    Args:
      settings: the blocks of each stage.
      stem_width: channels of the first convolution.
      last_channel: units of the layer before the head.
      width_mult: multiplier of all channels, rounded to multiples of 8, but for a stem that it would shrink and the
        last layer.
      activation: function after batch norm, relu or gelu.
      layer_scale: initial value of gamma, the gain of each channel of a block's branch; None: no gain.
    """

    num_classes: int = 1000
    settings: tuple[tuple[BlockSetting, ...], ...] = SMALL
    stem_width: int = 32
    last_channel: int = 1280
    width_mult: float = 1.0
    activation: Literal["relu", "gelu"] = "relu"
    layer_scale: float | None = None
    dropout: float = 0.2
    drop_path: float = 0.0
    remat: Remat = "none"

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        check_images(self, x, "stem/0", smallest=1)
        fields = {"dtype": compute_dtype(self.dtype, x, self.variables), "axis_name": self.axis_name}
        width = round_channels(self.stem_width * max(1.0, self.width_mult))
        x = ConvNorm(width, 3, 2, activation=self._activation(), **fields, name="stem")(x, train)
        x = self.perturb("stem", x)
        maps, index = {"stem": x}, 0
        for i, settings in enumerate(self.settings):
            for j, setting in enumerate(settings):
                setting = setting._replace(features=round_channels(setting.features * self.width_mult))
                rate = self.drop_path * index / sum(map(len, self.settings))
                x = self._block(setting, rate, fields, f"blocks_{i}_{j}")(x, train)
                index += 1
            x = maps[f"stage{i + 1}"] = self.perturb(f"stage{i + 1}", x)
        return x, maps

    def _activation(self) -> Any:
        check_choice("activation", self.activation, ("relu", "gelu"))
        return {"relu": relu, "gelu": gelu}[self.activation]

    def _block(self, setting: BlockSetting, rate: float, fields: dict[str, Any], name: str) -> nn.Module:
        if setting.kind == "conv":
            layer, size = remat(ConvNorm, self.remat, static_argnums=(2,)), setting.kernel_size
            return layer(setting.features, size, setting.stride, activation=self._activation(), **fields, name=name)
        if setting.kind == "fused":
            return remat(FusedBottleneck, self.remat, static_argnums=(2,))(
                setting, self._activation(), **fields, name=name
            )
        fields = fields | {"layer_scale": self.layer_scale, "drop_path": rate}
        if setting.kind == "mqa":
            return remat(MobileAttention, self.remat, static_argnums=(2,))(setting, **fields, name=name)
        return remat(UniversalBottleneck, self.remat, static_argnums=(2,))(
            setting, self._activation(), **fields, name=name
        )

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        x = global_avg_pool(to_acc_dtype(x))[:, None, None]
        fields = {"dtype": x.dtype, "axis_name": self.axis_name}
        x = ConvNorm(self.last_channel, 1, activation=self._activation(), **fields, name="conv_head")(x, train)
        return self._linear(Dropout(self.dropout, deterministic=not train)(x[:, 0, 0]))


_hybrid = functools.partial(MobileNetV4, layer_scale=1e-5)
_hybrid_large = functools.partial(_hybrid, settings=HYBRID_LARGE, stem_width=24, activation="gelu")
MODELS = {
    "mobilenetv4_conv_small": functools.partial(MobileNetV4),
    "mobilenetv4_conv_small_035": functools.partial(MobileNetV4, width_mult=0.35),
    "mobilenetv4_conv_small_050": functools.partial(MobileNetV4, width_mult=0.5),
    "mobilenetv4_conv_medium": functools.partial(MobileNetV4, settings=MEDIUM),
    "mobilenetv4_conv_large": functools.partial(MobileNetV4, settings=LARGE, stem_width=24),
    "mobilenetv4_hybrid_medium": functools.partial(_hybrid, settings=HYBRID_MEDIUM),
    "mobilenetv4_hybrid_medium_075": functools.partial(_hybrid, settings=HYBRID_MEDIUM, width_mult=0.75),
    "mobilenetv4_hybrid_large": _hybrid_large,
    "mobilenetv4_hybrid_large_075": functools.partial(_hybrid_large, width_mult=0.75),
}
SIDES = {"conv_medium": 256, "conv_large": 256, "hybrid_large": 384, "hybrid_large_075": 256}
INPUT_SHAPES = {f"mobilenetv4_{name}": (side, side, 3) for name, side in SIDES.items()}
