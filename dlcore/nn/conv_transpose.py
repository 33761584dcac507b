"""The transposed convolution layer: `dlcore.ops.conv_transpose` with weights and a bias."""

from collections.abc import Sequence
from typing import Any

import jax
from flax import linen as nn
from flax.linen.dtypes import promote_dtype

from dlcore.ops.transposed_convolution import conv_transpose

__all__ = ["ConvTranspose"]

_INIT = nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal", in_axis=-1, out_axis=-2)


class ConvTranspose(nn.Module):
    """[B, H, W, C] -> [B, H', W', features]; any number of spatial axes up to three, as many as `kernel_size` has.

    strides, padding, output_padding, kernel_dilation and feature_group_count are torch's: H' = (H - 1) strides -
    2 padding + kernel + output_padding, and "SAME" gives H strides. Kernel 4, strides 2, padding 1 doubles the size,
    and its even kernel meets every output pixel equally often, which leaves no checkerboard.

    Parameters `kernel: [kh, kw, features / groups, C]`, the layout of the convolution that this is the transpose of
    (torch's weight transposed to (2, 3, 1, 0); flax's has its last axes swapped and is flipped), and `bias`.
    """

    features: int
    kernel_size: Sequence[int]
    strides: int | Sequence[int] = 1
    padding: str | int | Sequence[int] = "SAME"
    output_padding: int | Sequence[int] = 0
    kernel_dilation: int | Sequence[int] = 1
    feature_group_count: int = 1
    use_bias: bool = True
    dtype: Any = None
    kernel_init: Any = _INIT
    bias_init: Any = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Stamp the kernel. Raises ValueError where groups do not divide the features or shapes do not fit."""
        groups = self.feature_group_count
        if groups < 1 or self.features % groups:
            raise ValueError(f"feature_group_count is {groups}; it must divide the {self.features} features")
        shape = (*self.kernel_size, self.features // groups, x.shape[-1])
        kernel = self.param("kernel", self.kernel_init, shape)
        bias = self.param("bias", self.bias_init, (self.features,)) if self.use_bias else None
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = conv_transpose(x, kernel, self.strides, self.padding, self.output_padding, self.kernel_dilation, groups)
        return y if bias is None else y + bias
