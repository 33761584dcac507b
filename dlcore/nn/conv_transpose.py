"""The transposed convolution layer: `dlcore.ops.conv_transpose` with weights and a bias."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from flax.linen.dtypes import promote_dtype

from dlcore.choices import check_whole_number
from dlcore.nn._checked import CheckedModule, Count
from dlcore.ops.transposed_convolution import conv_transpose

__all__ = ["ConvTranspose"]

_INIT = nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal", in_axis=-1, out_axis=-2)


class ConvTranspose(CheckedModule):
    """Transposed convolution layer with torch's arguments: [B, H, W, C] -> [B, H', W', features].

    It has one, two or three spatial axes.

    H' = (H - 1) strides - 2 padding + kernel + output_padding. Kernel 4, strides 2, padding 1 doubles the size, and
    every output pixel is covered by equally many taps, which avoids checkerboard artifacts.

    Parameters `kernel: [kh, kw, features / groups, C]`, the layout of the convolution that this is the transpose of
    (torch's weight transposed to (2, 3, 1, 0); flax's has its last axes swapped and is flipped), and `bias`.

    Args:
      kernel_size: taps along each spatial axis.
      strides: step between the stamps of neighboring input pixels, one number or one for each axis.
      padding: pixels removed from both sides of the output; "VALID" is 0, and "SAME" gives H' = H strides.
      output_padding: pixels added at the end, one number or one for each axis.
      kernel_dilation: distance between neighboring taps, one number or one for each axis.
      feature_group_count: groups of channels that are convolved separately.
      kernel_init: initializer of the kernel; the default is lecun_normal over input channels and taps.
    """

    features: Count
    kernel_size: Sequence[int]
    strides: int | Sequence[int] = 1
    padding: str | int | Sequence[int] = "SAME"
    output_padding: int | Sequence[int] = 0
    kernel_dilation: int | Sequence[int] = 1
    feature_group_count: Count = 1
    use_bias: bool = True
    dtype: Any = None
    kernel_init: Any = _INIT
    bias_init: Any = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Apply the transposed convolution.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H', W', features].
        """
        axes, groups = x.ndim - 2, self.feature_group_count
        if np.shape(self.kernel_size) != (axes,):
            raise ValueError(f"kernel_size={self.kernel_size}: for {axes} spatial axes; allowed: one number for each")
        for size in self.kernel_size:
            check_whole_number("kernel_size", size, 1)
        if self.features % groups:
            raise ValueError(f"feature_group_count={groups}: not a divisor; allowed: divisors of {self.features}")
        shape = (*self.kernel_size, self.features // groups, x.shape[-1])
        kernel = self.param("kernel", self.kernel_init, shape)
        bias = self.param("bias", self.bias_init, (self.features,)) if self.use_bias else None
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = conv_transpose(x, kernel, self.strides, self.padding, self.output_padding, self.kernel_dilation, groups)
        return y if bias is None else y + bias
