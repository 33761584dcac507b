"""DaViT: blocks that attend in windows of patches, and blocks that attend across channels.

    x = x + DW(x);  x = x + attention(LN(x));  x = x + DW(x);  x = x + MLP(LN(x))       DW: a 3x3 depthwise convolution
    spatial   tokens of a window, by heads          channel   channels of a group, whose features are all N tokens:
                                                              softmax(Q^T K / sqrt(N)) V^T

Ding et al. 2022, arXiv:2204.03645. It is the tower of Florence-2 (`dlcore.models.florence2`).
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models.fields import CheckedFields
from dlcore.models.swin import join_windows, windows
from dlcore.nn import Conv, Dense, LayerNorm
from dlcore.nn.activations import gelu
from dlcore.nn.attention import MultiHeadAttention, dot_product_attention
from dlcore.nn.transformer import FeedForward

__all__ = ["DaViT"]


class ChannelAttention(CheckedFields):
    """Attention of channels to channels: [B, N, C] -> [B, N, C].

    Args:
      groups: channels of one group attend to one another; divides C.
      qkv_bias: add biases to queries, keys and values.
      dtype: dtype of the computation; None takes the parameters'.
    """

    groups: int
    qkv_bias: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Attend.

        Args:
          x: [B, N, C].

        Returns:
          [B, N, C].
        """
        batch, length, channels = x.shape
        qkv = Dense(3 * channels, self.qkv_bias, dtype=self.dtype, name="qkv")(x)
        qkv = qkv.reshape(batch, length, 3, self.groups, -1)
        query, key, value = qkv.transpose(2, 0, 4, 3, 1)  # [B, channels of a group, groups, N]
        y = dot_product_attention(query, key, value, scale=length**-0.5)
        return Dense(channels, dtype=self.dtype, name="proj")(y.transpose(0, 3, 2, 1).reshape(x.shape))


class DaViTBlock(CheckedFields):
    """A block on maps: [B, h, w, C] -> [B, h, w, C].

    Args:
      heads: heads of a spatial block, groups of a channel block.
      window: side of a window of a spatial block; 0 for a channel block.
      mlp_features: hidden units of the perceptron.
      qkv_bias: add biases to queries, keys and values.
      dtype: dtype of the computation; None takes the parameters'.
    """

    heads: int
    window: Annotated[int, Range(0)]
    mlp_features: int
    qkv_bias: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, h, w, C].

        Returns:
          [B, h, w, C].
        """
        x = x + self._depthwise("conv1", x)
        x = x + self._attend(LayerNorm(dtype=self.dtype, name="norm1")(x), train)
        x = x + self._depthwise("conv2", x)
        mlp = FeedForward(self.mlp_features, gelu, dtype=self.dtype, name="ffn")
        return x + mlp(LayerNorm(dtype=self.dtype, name="norm2")(x), train)

    def _depthwise(self, name: str, x: jax.Array) -> jax.Array:
        channels = x.shape[-1]
        return Conv(channels, (3, 3), padding=1, feature_group_count=channels, dtype=self.dtype, name=name)(x)

    def _attend(self, x: jax.Array, train: bool) -> jax.Array:
        batch, height, width, channels = x.shape
        if not self.window:
            layer = ChannelAttention(self.heads, self.qkv_bias, dtype=self.dtype, name="channel_attn")
            return layer(x.reshape(batch, -1, channels)).reshape(x.shape)
        rest = [(0, 0), *((0, -side % self.window) for side in (height, width)), (0, 0)]
        padded = jnp.pad(x, rest)
        attention = MultiHeadAttention(
            self.heads,
            fused_qkv=True,
            qkv_bias="qkv" if self.qkv_bias else "none",
            dtype=self.dtype,
            name="window_attn",
        )
        y = attention(windows(padded, self.window), train=train)
        return join_windows(y, padded.shape[1:3], self.window)[:, :height, :width]


class DaViT(CheckedFields):
    """A DaViT without a head: images [B, H, W, C] -> the last stage's map [B, h, w, width].

    Args:
      stages: blocks of each stage, each of a spatial and a channel block.
      widths: channels of each stage.
      heads: attention heads of each stage.
      groups: groups of channels of each stage.
      kernels: sides of the convolutions before the stages.
      strides: strides of these.
      paddings: zeros around their inputs.
      norm_first: of each: normalize its input, in place of its output.
      window: side of a window of attention.
      mlp_ratio: hidden units of a perceptron, as a multiple of its channels.
      qkv_bias: add biases to queries, keys and values.
      dtype: dtype of the computation; None takes the parameters'.
    """

    stages: tuple[int, ...] = (1, 1, 9, 1)
    widths: tuple[int, ...] = (128, 256, 512, 1024)
    heads: tuple[int, ...] = (4, 8, 16, 32)
    groups: tuple[int, ...] = (4, 8, 16, 32)
    kernels: tuple[int, ...] = (7, 3, 3, 3)
    strides: tuple[int, ...] = (4, 2, 2, 2)
    paddings: Annotated[tuple[int, ...], Range(0)] = (3, 1, 1, 1)
    norm_first: tuple[bool, ...] = (False, True, True, True)
    window: Annotated[int, Range(1)] = 12
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Read images.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, h, w, width].
        """
        for i, (blocks, width) in enumerate(zip(self.stages, self.widths, strict=True)):
            kernel, stride, padding = self.kernels[i], self.strides[i], self.paddings[i]
            conv = Conv(width, (kernel, kernel), (stride, stride), padding, dtype=self.dtype, name=f"convs_{i}_conv")
            norm = LayerNorm(dtype=self.dtype, name=f"convs_{i}_norm")
            x = conv(norm(x)) if self.norm_first[i] else norm(conv(x))
            for j in range(blocks):
                for kind, heads, window in (("spatial", self.heads[i], self.window), ("channel", self.groups[i], 0)):
                    block = DaViTBlock(
                        *(heads, window, int(width * self.mlp_ratio), self.qkv_bias),
                        dtype=self.dtype,
                        name=f"blocks_{i}_{j}_{kind}_block",
                    )
                    x = block(x, train)
        return x
