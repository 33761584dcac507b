"""Attention over channels: efficient channel attention (ECA) and global context (GC).

Wang, Wu, Zhu, Li, Zuo & Hu, "ECA-Net: efficient channel attention for deep convolutional neural networks" (2019),
arXiv:1910.03151; Cao, Xu, Lin, Wei & Hu, "GCNet: non-local networks meet squeeze-excitation networks and beyond"
(2019), arXiv:1904.11492.

    ECA   y = x sigmoid(w * mean_hw x)        w: one kernel of k weights, k odd and about (log2 C + 1) / 2
    GC    y = x + W2 relu LN(W1 c),           c = sum_hw softmax_hw(v x) x
"""

import math
from typing import Any

import jax
from flax import linen as nn

from dlcore.models.fields import CheckedFields
from dlcore.nn import Conv, Dense, LayerNorm

__all__ = ["EfficientChannelAttention", "GlobalContext"]


class EfficientChannelAttention(CheckedFields):
    """Scale each channel by a gate in (0, 1) computed from the means of neighboring channels."""

    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Apply the gates.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H, W, C].
        """
        size = max(int((math.log2(x.shape[-1]) + 1) / 2) | 1, 3)
        conv = Conv(1, (size,), padding=size // 2, use_bias=False, dtype=self.dtype, name="conv")
        return x * nn.sigmoid(conv(x.mean((1, 2))[:, :, None]))[:, None, None, :, 0]


class GlobalContext(CheckedFields):
    """Add a vector computed from an attention-weighted mean over all places.

    Args:
      features: units between the two layers.
    """

    features: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Add the context.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H, W, C].
        """
        tokens = x.reshape(len(x), -1, x.shape[-1])
        weights = nn.softmax(Dense(1, dtype=self.dtype, name="conv_attn")(tokens), axis=1)
        y = Dense(self.features, dtype=self.dtype, name="mlp_add_fc1")((weights * tokens).sum(1))
        y = nn.relu(LayerNorm(1e-6, dtype=self.dtype, name="mlp_add_norm")(y))
        return x + Dense(x.shape[-1], dtype=self.dtype, name="mlp_add_fc2")(y)[:, None, None]
