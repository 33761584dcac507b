"""The locally connected layer: a convolution whose weights are not shared between places.

LeCun 1989, "Generalization and network design strategies".

    y[p, o] = b[p, o] + sum_{k, c} x[s p + k - l, c] w[p, k, c, o]          a convolution where w[p] = w and b[p] = b

Between a full layer and a convolution: H' W' kh kw C O weights, H' W' times a convolution's and H W / (kh kw) times
fewer than a full one's.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype

from dlcore.ops.im2col import Padding, im2col

__all__ = ["LocallyConnected"]


class LocallyConnected(nn.Module):
    """[B, H, W, C] -> [B, H', W', features].

    Parameters `kernel: [H', W', kh kw C, features]`, rows in the order of an HWIO kernel (flax's `ConvLocal` has
    channels first), and `bias: [H', W', features]`. The image's size is part of the layer.
    """

    features: int
    kernel_size: Sequence[int] = (3, 3)
    strides: int | Sequence[int] = 1
    padding: Padding = "SAME"
    use_bias: bool = True
    dtype: Any = None
    kernel_init: Any = nn.initializers.lecun_normal(in_axis=-2, out_axis=-1, batch_axis=(0, 1))
    bias_init: Any = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Every window times its own matrix."""
        cols = im2col(x, tuple(self.kernel_size), self.strides, self.padding)
        _, rows, columns, width = cols.shape
        kernel = self.param("kernel", self.kernel_init, (rows, columns, width, self.features))
        bias = self.param("bias", self.bias_init, (rows, columns, self.features)) if self.use_bias else None
        cols, kernel, bias = promote_dtype(cols, kernel, bias, dtype=self.dtype)
        y = jnp.einsum("nhwk,hwko->nhwo", cols, kernel)
        return y if bias is None else y + bias
