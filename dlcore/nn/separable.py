"""Factorized convolutions: depthwise then pointwise, and one axis then the other.

Chollet 2017, arXiv:1610.02357; Howard et al. 2017, arXiv:1704.04861; Szegedy et al. 2015, arXiv:1512.00567.

    separable     z[p, c, m] = sum_k x[p + k, c] w[k, c, m],   y[p, o] = b[o] + sum_{c, m} z[p, c, m] v[c, m, o]
    factorized    1 x n, then n x 1

A 3x3 layer from 64 to 128 channels has 9 64 128 = 73,728 weights; in two factors 9 64 + 64 128 = 8,768, the fraction
1/128 + 1/9. An n x n kernel of rank one is exactly its two factors, with 2 n weights instead of n n.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from dlcore.nn._checked import CheckedModule, Count
from dlcore.nn.conv import Conv
from dlcore.ops.im2col import pair_of

__all__ = ["DepthwiseSeparableConv", "FactorizedConv"]


class DepthwiseSeparableConv(CheckedModule):
    """Depthwise separable convolution: [B, H, W, C] -> [B, H', W', features].

    Submodules `depthwise` (kernel [kh, kw, 1, C channel_multiplier]) and `pointwise`. The depthwise convolution has no
    bias, because the pointwise bias covers it where nothing nonlinear is between the two.

    Args:
      kernel_size: (rows, columns) of the depthwise convolution.
      strides: strides of the depthwise convolution, one number or (rows, columns).
      padding: padding of the depthwise convolution, as for `Conv`.
      kernel_dilation: kernel dilation of the depthwise convolution, one number or (rows, columns).
      channel_multiplier: depthwise kernels for each input channel.
      use_bias: add a bias after the pointwise convolution.
      between: function applied between the two (MobileNet: batch norm and ReLU; Xception: None, nothing).
    """

    features: Count
    kernel_size: Sequence[int] = (3, 3)
    strides: int | Sequence[int] = 1
    padding: Any = "SAME"
    kernel_dilation: int | Sequence[int] = 1
    channel_multiplier: Count = 1
    use_bias: bool = True
    between: Callable[[jax.Array], jax.Array] | None = None
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Convolve depthwise, then pointwise.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H', W', features].
        """
        if np.shape(self.kernel_size) != (2,):
            raise ValueError(f"kernel_size={self.kernel_size}: not two sides; allowed: (rows, columns)")
        channels = x.shape[-1]
        x = Conv(
            channels * self.channel_multiplier,
            self.kernel_size,
            strides=self.strides,
            padding=self.padding,
            kernel_dilation=self.kernel_dilation,
            feature_group_count=channels,
            use_bias=False,
            dtype=self.dtype,
            name="depthwise",
        )(x)
        x = x if self.between is None else self.between(x)
        return Conv(self.features, (1, 1), use_bias=self.use_bias, dtype=self.dtype, name="pointwise")(x)


class FactorizedConv(CheckedModule):
    """Factorized convolution: a 1 x n, then an n x 1 convolution, [B, H, W, C] -> [B, H', W', features].

    Submodules `across` (1 x n, to `features` channels, no bias) and `down` (n x 1).

    Args:
      features: output channels of both convolutions.
      kernel_size: n, taps of each convolution.
      strides: one number or (rows, columns).
      padding: a name, one number, or (rows, columns).
      use_bias: add a bias after the second convolution.
      between: function applied between the two (Inception: batch norm and ReLU); None makes a kernel of rank one.
    """

    features: Count
    kernel_size: Count = 7
    strides: int | Sequence[int] = 1
    padding: Any = "SAME"
    use_bias: bool = True
    between: Callable[[jax.Array], jax.Array] | None = None
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Convolve along rows, then along columns.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H', W', features].
        """
        sy, sx = pair_of("strides", self.strides)
        if isinstance(self.padding, str):
            py = px = self.padding
        else:
            pads = self.padding if isinstance(self.padding, Sequence) else (self.padding,) * 2
            if len(pads) != 2:
                raise ValueError(f"padding={self.padding}: not two axes; allowed: a name, one number, or two")
            py, px = ((pads[0], 0), (0, pads[1]))
        x = Conv(
            self.features,
            (1, self.kernel_size),
            strides=(1, sx),
            padding=px,
            use_bias=False,
            dtype=self.dtype,
            name="across",
        )(x)
        x = x if self.between is None else self.between(x)
        return Conv(
            self.features,
            (self.kernel_size, 1),
            strides=(sy, 1),
            padding=py,
            use_bias=self.use_bias,
            dtype=self.dtype,
            name="down",
        )(x)
