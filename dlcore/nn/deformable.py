"""The deformable convolution layer: a plain convolution predicts the sampling offset of every tap.

Dai et al. 2017, arXiv:1703.06211; Zhu et al. 2018, arXiv:1811.11168 (modulated).

    y = deform_conv(x, offset, m),   offset = conv(x),   m = sigmoid(conv(x)) where modulated

The predicting layers start at zero, so the layer starts as the convolution with its kernel (modulated: half of it).
"""

from collections.abc import Sequence
from typing import Any

import jax
from flax import linen as nn
from flax.linen.dtypes import promote_dtype

from dlcore.nn._checked import CheckedModule, Count
from dlcore.nn.conv import Conv
from dlcore.ops.checks import check_shapes
from dlcore.ops.deformable_convolution import deform_conv
from dlcore.ops.im2col import Padding, pair_of

__all__ = ["DeformableConv"]


class DeformableConv(CheckedModule):
    """Deformable convolution with learned offsets: [B, H, W, C] -> [B, H', W', features].

    Parameters `kernel: [kh, kw, C / groups, features]`, `bias`, and the submodules `offset` and, where modulated,
    `mask`.

    Args:
      kernel_size: (rows, columns).
      strides: step between neighboring windows, one number or (rows, columns).
      padding: "SAME", "VALID", one number for all sides, or a number or (low, high) pair for each axis.
      kernel_dilation: distance between neighboring taps, one number or (rows, columns).
      feature_group_count: groups of channels that are convolved separately.
      offset_groups: groups of input channels with offsets of their own.
      modulated: multiply each sampled value by a predicted mask (v2).
    """

    features: Count
    kernel_size: Sequence[int] = (3, 3)
    strides: int | Sequence[int] = 1
    padding: Padding = "SAME"
    kernel_dilation: int | Sequence[int] = 1
    feature_group_count: Count = 1
    offset_groups: Count = 1
    modulated: bool = True
    use_bias: bool = True
    dtype: Any = None
    kernel_init: Any = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Predict the offsets, then convolve.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H', W', features].
        """
        check_shapes(x=(x, "B H W C"))
        size, channels = pair_of("kernel_size", self.kernel_size), x.shape[-1]
        if channels % self.feature_group_count:
            raise ValueError(f"feature_group_count={self.feature_group_count}: not a divisor; allowed: of {channels}")
        kernel = self.param("kernel", self.kernel_init, (*size, channels // self.feature_group_count, self.features))
        taps = self.offset_groups * size[0] * size[1]

        def predict(name: str, count: int) -> jax.Array:
            return Conv(
                count,
                size,
                strides=self.strides,
                padding=self.padding,
                kernel_dilation=self.kernel_dilation,
                kernel_init=nn.initializers.zeros,
                dtype=self.dtype,
                name=name,
            )(x)

        offset = predict("offset", 2 * taps)
        mask = nn.sigmoid(predict("mask", taps)) if self.modulated else None
        bias = self.param("bias", nn.initializers.zeros, (self.features,)) if self.use_bias else None
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = deform_conv(
            x, offset, kernel, mask, self.strides, self.padding, self.kernel_dilation, self.feature_group_count
        )
        return y if bias is None else y + bias
