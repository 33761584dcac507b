"""An image encoder for single-view reconstruction: feature maps at strides 2, 4, 8, ..."""

from typing import Any

import jax
from flax import linen as nn

from dlcore.nn import Conv, GroupNorm

__all__ = ["ImageEncoder"]


class ImageEncoder(nn.Module):
    """Convolutions of 3 x 3 with group norm: [B, H, W, C] -> one map a stage.

    Args:
      widths: channels of the stages, each of stride 2; multiples of `groups`.
      groups: groups of group norm.
      dtype: dtype of the computation; None means by promotion.
    """

    widths: tuple[int, ...] = (16, 32, 64)
    groups: int = 4
    dtype: Any = None

    @nn.compact
    def __call__(self, image: jax.Array) -> list[jax.Array]:
        """Encode images.

        Args:
          image: [B, H, W, C].

        Returns:
          [B, H / 2, W / 2, widths[0]], [B, H / 4, W / 4, widths[1]], ...
        """
        maps, x = [], image
        for i, width in enumerate(self.widths):
            for k, stride in enumerate((2, 1)):
                conv = Conv(width, (3, 3), (stride, stride), use_bias=False, dtype=self.dtype, name=f"conv{i}_{k}")
                norm = GroupNorm(self.groups, dtype=self.dtype, name=f"norm{i}_{k}")
                x = nn.relu(norm(conv(x)))
            maps.append(x)  # [B, H / 2^(i + 1), W / 2^(i + 1), width]
        return maps
