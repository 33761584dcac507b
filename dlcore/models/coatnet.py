"""Blocks of CoAtNet, MaxViT and MaxxViT as timm publishes them: convolutions, attention, attention in sets of pixels.

Dai et al., "CoAtNet: marrying convolution and attention for all data sizes" (2021), arXiv:2106.04803; Tu et al.,
"MaxViT: multi-axis vision transformer" (2022), arXiv:2204.01697.

    MBConv       x = S(x) + conv1x1(SE(s BN depthwise3x3(s BN conv1x1(BN(x)))))         S: pool and conv1x1, or x
    ConvNeXt     x = S(x) + l W_2 gelu(W_1 LN(depthwise7x7(x)))
    transformer  x = S(x) + l MSA(pool(N(x))),  x = x + l MLP(N(x))
    partition    the same without a pool, in windows of P x P pixels or along a grid of P x P

MSA adds a bias for each head and each offset of two pixels: a table, or a perceptron of sign(d) log(1 + |d|).
"""

import functools
from typing import Any

import jax
from flax import linen as nn

from dlcore.models.fields import CheckedFields
from dlcore.models.log_positions import LogPositionBias
from dlcore.models.maxvit import Partition, join_sets, sets_of_pixels
from dlcore.models.metaformer_blocks import scale_channels
from dlcore.models.mobilenet_v2 import round_channels
from dlcore.models.resnet import SqueezeExcitation
from dlcore.nn import (
    BatchNorm,
    Conv,
    Dense,
    FeedForward,
    LayerNorm,
    MultiHeadAttention,
    RelativePositionBias,
    drop_path,
    gelu,
)
from dlcore.ops import avg_pool, max_pool
from dlcore.ops.checks import check_shapes
from dlcore.ops.replica import REPLICA

__all__ = ["CoAtNetConv", "CoAtNetConvNeXt", "CoAtNetTransformer", "downsample"]

CONV_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
KERNEL_INIT = nn.initializers.xavier_uniform()
HEAD_FEATURES = 32


def downsample(x: jax.Array, largest: bool = False) -> jax.Array:
    """Halve a map by a pool.

    Args:
      x: [B, H, W, C].
      largest: maximum of 3 x 3 pixels, in place of the mean of 2 x 2.

    Returns:
      [B, H / 2, W / 2, C].
    """
    check_shapes(x=(x, "B H W C"))
    return max_pool(x, (3, 3), (2, 2), 1) if largest else avg_pool(x, (2, 2), (2, 2))


class CoAtNetConv(CheckedFields):
    """MBConv: an inverted residual with a batch norm in front and gates after the depthwise convolution.

    Args:
      stride: 1 or 2.
      from_output: the inner channels are 4 times the output's, in place of 4 times the input's, and zeros around the
        map are TensorFlow's.
      pool_stride: halve the map by a pool in front, in place of the depthwise convolution.
      max_pool: the shortcut takes maxima, in place of means.
      pre_activation: activate after the first norm.
      output_bias: the last convolution and that of the shortcut have biases.
      se_early: gates in front of the second norm, in place of behind its activation.
      se_units: units of squeeze-and-excitation as a fraction of the inner channels.
      se_activation: activation of squeeze-and-excitation.
      activation: function after each norm.
    """

    features: int
    stride: int = 1
    from_output: bool = False
    pool_stride: bool = False
    max_pool: bool = False
    pre_activation: bool = False
    output_bias: bool = False
    se_early: bool = False
    se_units: float = 0.25
    se_activation: Any = nn.silu
    activation: Any = nn.silu
    drop_path: float = 0.0
    epsilon: float = 1e-5
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H / stride, W / stride, features].
        """
        inner = round_channels(4 * (self.features if self.from_output else x.shape[-1]))
        conv = functools.partial(Conv, use_bias=False, dtype=self.dtype, kernel_init=CONV_INIT)
        norm = functools.partial(BatchNorm, not train, 0.9, self.epsilon, self.axis_name, dtype=self.dtype)
        gates = SqueezeExcitation(
            int(inner * self.se_units),
            self.se_activation,
            dtype=self.dtype,
            name="se_early" if self.se_early else "se",
        )
        y = norm(name="pre_norm")(x)
        y = self.activation(y) if self.pre_activation else y
        y = downsample(y) if self.stride > 1 and self.pool_stride else y
        y = self.activation(norm(name="norm1")(conv(inner, (1, 1), name="conv1_1x1")(y)))
        stride = 1 if self.pool_stride else self.stride
        y = conv(inner, (3, 3), stride, "SAME" if self.from_output else 1, feature_group_count=inner, name="conv2_kxk")(
            y
        )
        y = gates(y) if self.se_early else y
        y = self.activation(norm(name="norm2")(y))
        y = y if self.se_early else gates(y)
        y = conv(self.features, (1, 1), use_bias=self.output_bias, name="conv3_1x1")(y)
        x = downsample(x, self.max_pool) if self.stride > 1 else x
        if x.shape[-1] != self.features:
            x = conv(self.features, (1, 1), use_bias=self.output_bias, name="shortcut_expand")(x)
        return x + drop_path(y, self.drop_path, train)


class CoAtNetConvNeXt(CheckedFields):
    """A ConvNeXt block that may halve the map and change the channels.

    Args:
      stride: 1 or 2.
      layer_scale: initial factor of each channel of the branch.
    """

    features: int
    stride: int = 1
    layer_scale: float = 1e-6
    drop_path: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H / stride, W / stride, features].
        """
        conv = functools.partial(Conv, self.features, dtype=self.dtype, kernel_init=CONV_INIT)
        y = conv((7, 7), self.stride, 3, feature_group_count=x.shape[-1], name="conv_dw")(x)
        y = LayerNorm(1e-6, dtype=self.dtype, name="norm")(y)
        y = FeedForward(4 * self.features, gelu, dtype=self.dtype, kernel_init=CONV_INIT, name="mlp")(y)
        y = scale_channels(self, "ls", y, self.layer_scale)
        x = downsample(x) if self.stride > 1 else x
        x = conv((1, 1), name="shortcut_expand")(x) if x.shape[-1] != self.features else x
        return x + drop_path(y, self.drop_path, train)


class CoAtNetTransformer(CheckedFields):
    """Attention and an MLP, each with a residual connection; attention of all pixels, or in sets of pixels.

    Args:
      window: (rows, columns) of the pixels that attend to each other; of all pixels the map's.
      partition: window: sets of neighbors; grid: sets spread over the map; None: all pixels.
      stride: 1 or 2; of attention of all pixels.
      max_pool: halve the map by maxima, in place of means.
      shortcut_bias: the convolution of the shortcut has a bias.
      position_units: units of the perceptron of the positions; 0: a table.
      layer_scale: initial factor of each channel of a branch; None for none.
      batch_norm: batch norms, in place of layer norms.
      activation: function of the MLP.
      by_head: published weights order queries, keys and values by head.
    """

    features: int
    window: tuple[int, int]
    partition: Partition | None = None
    stride: int = 1
    max_pool: bool = False
    shortcut_bias: bool = True
    position_units: int = 0
    layer_scale: float | None = None
    batch_norm: bool = False
    activation: Any = gelu
    by_head: bool = True
    drop_path: float = 0.0
    epsilon: float = 1e-6
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H / stride, W / stride, features].
        """

        def norm(x: jax.Array, name: str) -> jax.Array:
            if self.batch_norm:
                return BatchNorm(not train, 0.9, self.epsilon, self.axis_name, dtype=self.dtype, name=name)(x)
            return LayerNorm(self.epsilon, dtype=self.dtype, name=name)(x)

        channels, is_half = x.shape[-1], self.stride > 1
        y = norm(x, "norm1_norm" if is_half else "norm1")
        y, x = (downsample(each, self.max_pool) if is_half else each for each in (y, x))
        height, width = y.shape[1:3]
        heads, name = channels // HEAD_FEATURES, "attn_by_head" if self.by_head else "attn"
        if self.position_units:
            bias = LogPositionBias(self.window, heads, self.position_units, name="rel_pos_mlp")()
        else:
            bias = RelativePositionBias(self.window, heads, name="rel_pos_table")()
        attend = MultiHeadAttention(
            heads,
            self.features,
            channels,
            fused_qkv=True,
            dtype=self.dtype,
            kernel_init=KERNEL_INIT,
            name=name,
        )
        if self.partition is None:
            y = attend(y.reshape(len(y), -1, channels), bias=bias, train=train).reshape(*y.shape[:3], -1)
        else:
            y = sets_of_pixels(y, self.window[0], self.partition)
            y = join_sets(attend(y, bias=bias, train=train), height, width, self.window[0], self.partition)
        if channels != self.features:
            x = Dense(
                self.features, self.shortcut_bias, dtype=self.dtype, kernel_init=KERNEL_INIT, name="shortcut_expand"
            )(x)
        x = x + drop_path(scale_channels(self, "ls1", y, self.layer_scale), self.drop_path, train)
        mlp = FeedForward(4 * self.features, self.activation, dtype=self.dtype, kernel_init=KERNEL_INIT, name="mlp")
        y = scale_channels(self, "ls2", mlp(norm(x, "norm2")), self.layer_scale)
        return x + drop_path(y, self.drop_path, train)
