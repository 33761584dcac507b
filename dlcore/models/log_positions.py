"""Relative position bias by a perceptron of the logarithms of offsets, as timm's CoAtNets and MaxViTs have it.

B_h(i, j) = W_2 relu(W_1 (s(y_i - y_j), s(x_i - x_j)) + b_1) + b_2,   s(d) = sign(d) log(1 + |d|)
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.models.fields import CheckedFields
from dlcore.nn import Dense

__all__ = ["LogPositionBias"]


class LogPositionBias(CheckedFields):
    """A bias for each head and each offset of two pixels of a window, by a perceptron of the logarithms of the offset.

    Args:
      window: (rows, columns).
      hidden: units of the perceptron.
    """

    window: tuple[int, int]
    num_heads: int
    hidden: int = 512

    @nn.compact
    def __call__(self) -> jax.Array:
        """Compute the bias of every pair of pixels.

        Returns:
          [num_heads, N, N] with the window's N pixels in row order, queries before keys.
        """
        y, x = (c.reshape(-1) for c in np.indices(self.window))
        height, width = self.window
        offsets = np.stack(np.meshgrid(np.arange(1 - height, height), np.arange(1 - width, width), indexing="ij"), -1)
        scaled = jnp.asarray(np.sign(offsets) * np.log1p(np.abs(offsets)), jnp.float32)
        table = Dense(self.num_heads, name="fc2")(nn.relu(Dense(self.hidden, name="fc1")(scaled)))
        down, right = (c[:, None] - c[None, :] + n - 1 for c, n in ((y, height), (x, width)))
        return table[down, right].transpose(2, 0, 1)
