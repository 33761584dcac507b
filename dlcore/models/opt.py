"""OPT: a decoder-only transformer that predicts the next token.

    x = E[tokens] + P[position + 2];  x = block(x) for each block (pre-norm, causal);  logits = LN(x) E^T

Zhang et al. 2022, arXiv:2205.01068. Here it writes the texts of BLIP-2, see `dlcore.models.blip2`.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models.bart import OFFSET
from dlcore.models.decoder_only import DecoderOnly
from dlcore.nn import LayerNorm
from dlcore.nn.activations import named_activation
from dlcore.nn.embed import Embed
from dlcore.nn.transformer import TransformerDecoderBlock

__all__ = ["OPT"]


class OPT(DecoderOnly):
    """A language model: tokens [B, T] -> logits [B, T, V] of the token after each.

    Args:
      vocab_size: V, different tokens.
      window: the most tokens that it reads, prompt and continuation together.
      num_layers: blocks.
      num_heads: attention heads of each block; divides the width.
      width: features of a token.
      activation: of the MLPs, by transformers' name.
      dtype: dtype of the computation; None takes the parameters'.
    """

    vocab_size: int = 50272
    window: Annotated[int, Range(1)] = 2048
    num_layers: Annotated[int, Range(1)] = 12
    num_heads: Annotated[int, Range(1)] = 12
    width: Annotated[int, Range(1)] = 768
    mlp_features: Annotated[int, Range(1)] = 3072
    activation: str = "relu"
    epsilon: float = 1e-5
    dtype: Any = None

    def setup(self):
        """Build the embeddings, the blocks and the last norm."""
        init = nn.initializers.normal(0.02)
        self.embed_tokens = Embed(self.vocab_size, self.width, embedding_init=init, dtype=self.dtype)
        self.embed_positions = Embed(self.window + OFFSET, self.width, embedding_init=init, dtype=self.dtype)
        self.blocks = [self._block(name=f"layers_{i}") for i in range(self.num_layers)]
        self.norm = LayerNorm(self.epsilon, dtype=self.dtype)

    @nn.nowrap
    def _block(self, **kwargs: Any) -> TransformerDecoderBlock:
        return TransformerDecoderBlock(
            self.num_heads,
            self.mlp_features,
            pre_norm=True,
            activation=named_activation(self.activation),
            epsilon=self.epsilon,
            fused_qkv=False,
            cross=False,
            dtype=self.dtype,
            kernel_init=nn.initializers.normal(0.02),
            **(kwargs or {"parent": None}),
        )

    def embedded(self, tokens: jax.Array, position: jax.Array, train: bool) -> jax.Array:
        """Embed tokens at their positions."""
        return self.embed_tokens(tokens) + self.embed_positions(position + OFFSET)

    def with_positions(self, x: jax.Array) -> jax.Array:
        """Add the positions from 0 on.

        Args:
          x: [B, T, width], embedded tokens and features of images.

        Returns:
          [B, T, width].
        """
        return x + self.embed_positions(jnp.arange(x.shape[1]) + OFFSET)

    def logits(self, x: jax.Array) -> jax.Array:
        """Compute logits by the transposed token embedding (tied weights)."""
        return self.embed_tokens.attend(x)
