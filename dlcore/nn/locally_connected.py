"""The locally connected layer: a convolution whose weights are not shared between locations.

LeCun 1989, "Generalization and network design strategies".

    y[p, o] = b[p, o] + sum_{k, c} x[s p + k - l, c] w[p, k, c, o]          a convolution where w[p] = w and b[p] = b

It lies between a fully connected layer and a convolution: it has H' W' kh kw C O weights, H' W' times as many as a
convolution, and a fully connected layer has H W / (kh kw) times as many.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype

from dlcore.nn._checked import CheckedModule, Count
from dlcore.ops.im2col import Padding, im2col

__all__ = ["LocallyConnected"]


class LocallyConnected(CheckedModule):
    """Locally connected layer: [B, H, W, C] -> [B, H', W', features]. The image's size is part of the layer.

    Parameters `kernel: [H', W', kh kw C, features]`, rows in the order of an HWIO kernel (flax's `ConvLocal` has
    channels first), and `bias: [H', W', features]`.

    Args:
      kernel_size: (rows, columns) of a window.
      strides: step between neighboring windows, one number or (rows, columns).
      padding: "SAME", "VALID", one number for all sides, or a number or (low, high) pair for each axis.
      use_bias: add a bias to each output value.
    """

    features: Count
    kernel_size: Sequence[int] = (3, 3)
    strides: int | Sequence[int] = 1
    padding: Padding = "SAME"
    use_bias: bool = True
    dtype: Any = None
    kernel_init: Any = nn.initializers.lecun_normal(in_axis=-2, out_axis=-1, batch_axis=(0, 1))
    bias_init: Any = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Multiply every window by its own matrix.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H', W', features].
        """
        cols = im2col(x, self.kernel_size, self.strides, self.padding)
        _, rows, columns, width = cols.shape
        kernel = self.param("kernel", self.kernel_init, (rows, columns, width, self.features))
        bias = self.param("bias", self.bias_init, (rows, columns, self.features)) if self.use_bias else None
        cols, kernel, bias = promote_dtype(cols, kernel, bias, dtype=self.dtype)
        y = jnp.einsum("nhwk,hwko->nhwo", cols, kernel)
        return y if bias is None else y + bias
