"""Efficient channel attention (ECA): gates of channels by a convolution over neighboring channels.

Wang, Wu, Zhu, Li, Zuo & Hu, "ECA-Net: efficient channel attention for deep convolutional neural networks" (2019),
arXiv:1910.03151.

    y = x sigmoid(w * mean_hw x)        w: one kernel of k weights, k odd and about (log2 C + 1) / 2
"""

import math
from typing import Any

import jax
from flax import linen as nn

from dlcore.models.fields import CheckedFields
from dlcore.nn import Conv

__all__ = ["EfficientChannelAttention"]


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
