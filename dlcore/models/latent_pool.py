"""Attention pooling of tokens by one learned query, as in SigLIP: Zhai et al. 2023, arXiv:2303.15343."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.models.fields import CheckedFields
from dlcore.nn import ACTIVATIONS, FeedForward, LayerNorm, MultiHeadAttention

__all__ = ["LatentPool"]


class LatentPool(CheckedFields):
    """Pool tokens by attention of one learned query and a perceptron on the result, [B, N, D] -> [B, D].

    Args:
      num_heads: attention heads; divides D.
      hidden_features: units of the perceptron.
      activation: of the perceptron, a name of `dlcore.nn.ACTIVATIONS`.
      epsilon: added to variances by the perceptron's norm.
    """

    num_heads: int
    hidden_features: int
    activation: str = "gelu"
    epsilon: float = 1e-6
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Pool.

        Args:
          x: [B, N, D].

        Returns:
          [B, D].
        """
        latent = self.param("latent", nn.initializers.normal(x.shape[-1] ** -0.5), (1, 1, x.shape[-1]))
        query = jnp.broadcast_to(latent.astype(x.dtype), (len(x), 1, x.shape[-1]))
        x = MultiHeadAttention(self.num_heads, dtype=self.dtype, name="attn")(query, x)
        y = LayerNorm(self.epsilon, dtype=self.dtype, name="norm")(x)
        mlp = FeedForward(self.hidden_features, ACTIVATIONS[self.activation], dtype=self.dtype, name="mlp")
        return (x + mlp(y))[:, 0]
