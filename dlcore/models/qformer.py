"""Q-Former: learned queries that read an image's tokens, beside the words of a text that they may see.

    x = LN([queries; E[words] + P[position]]);   each block, post-norm:
    x = LN(x + MHA(x));   queries = LN(queries + MHA(queries, image)) in every s-th block
    queries = LN(queries + MLP_q(queries));   words = LN(words + MLP(words))

Li et al. 2023, arXiv:2301.12597. See `dlcore.models.blip2`.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models.fields import CheckedFields
from dlcore.nn import LayerNorm
from dlcore.nn.activations import named_activation
from dlcore.nn.attention import MultiHeadAttention
from dlcore.nn.embed import Embed
from dlcore.nn.transformer import FeedForward

__all__ = ["QFormer", "QFormerBlock"]

INIT = nn.initializers.normal(0.02)


class QFormerBlock(CheckedFields):
    """A block of a Q-Former: ([B, Q + T, width], the image's tokens) -> [B, Q + T, width].

    Args:
      num_heads: attention heads; divides the width.
      activation: of the MLPs, by transformers' name.
      cross: let the queries attend to the image.
      dtype: dtype of the computation; None takes the parameters'.
    """

    num_heads: int = 12
    mlp_features: int = 3072
    activation: str = "gelu"
    cross: bool = True
    epsilon: float = 1e-12
    dtype: Any = None

    @nn.compact
    def __call__(
        self, x: jax.Array, memory: jax.Array | None, num_queries: int, mask: jax.Array | None = None
    ) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, Q + T, width], queries first.
          memory: [B, N, D], tokens of the image; None without queries.
          num_queries: Q.
          mask: [B, 1, 1, Q + T] bool, True where a token may be seen; None: everywhere.

        Returns:
          [B, Q + T, width].
        """

        def added(x: jax.Array, branch: jax.Array, norm: str) -> jax.Array:
            return LayerNorm(self.epsilon, dtype=self.dtype, name=norm)(x + branch)

        def perceptron(x: jax.Array, name: str) -> jax.Array:
            activation = named_activation(self.activation)
            mlp = FeedForward(self.mlp_features, activation, dtype=self.dtype, kernel_init=INIT, name=name)
            return added(x, mlp(x), f"{name}_norm")

        def attention(name: str) -> MultiHeadAttention:
            return MultiHeadAttention(self.num_heads, dtype=self.dtype, kernel_init=INIT, name=name)

        x = added(x, attention("attn")(x, mask=mask), "attn_norm")
        queries, words = x[:, :num_queries], x[:, num_queries:]
        if num_queries:
            if self.cross:
                queries = added(queries, attention("cross_attn")(queries, memory), "cross_attn_norm")
            queries = perceptron(queries, "mlp_query")
        if words.shape[1]:
            words = perceptron(words, "mlp")
        return jnp.concatenate([queries, words], 1)


class QFormer(CheckedFields):
    """Queries that read an image, and words: (image's tokens [B, N, D], words [B, T]) -> [B, Q + T, width].

    Args:
      num_queries: Q.
      vocab_size: different words; 0: it reads none.
      window: the most words.
      num_layers: blocks.
      num_heads: attention heads of each block; divides the width.
      width: features of a token.
      cross_every: s, the queries attend to the image in blocks 0, s, 2 s, ...
      activation: of the MLPs, by transformers' name.
      dtype: dtype of the computation; None takes the parameters'.
    """

    num_queries: Annotated[int, Range(1)] = 32
    vocab_size: Annotated[int, Range(0)] = 0
    window: Annotated[int, Range(1)] = 512
    num_layers: Annotated[int, Range(1)] = 12
    num_heads: Annotated[int, Range(1)] = 12
    width: Annotated[int, Range(1)] = 768
    mlp_features: Annotated[int, Range(1)] = 3072
    cross_every: Annotated[int, Range(1)] = 2
    activation: str = "gelu"
    epsilon: float = 1e-12
    dtype: Any = None

    def setup(self):
        """Build the queries, the embeddings and the blocks."""
        self.query_tokens = self.param("query_tokens", nn.initializers.zeros, (1, self.num_queries, self.width))
        if self.vocab_size:
            self.embed_tokens = Embed(self.vocab_size, self.width, embedding_init=INIT, dtype=self.dtype)
            self.embed_positions = Embed(self.window, self.width, embedding_init=INIT, dtype=self.dtype)
        self.norm = LayerNorm(self.epsilon, dtype=self.dtype)
        self.blocks = [
            QFormerBlock(
                self.num_heads, self.mlp_features, self.activation, i % self.cross_every == 0, self.epsilon, self.dtype
            )
            for i in range(self.num_layers)
        ]

    def __call__(
        self, memory: jax.Array | None, tokens: jax.Array | None = None, mask: jax.Array | None = None
    ) -> jax.Array:
        """Read an image, words, or both.

        Args:
          memory: [B, N, D], tokens of the image; None leaves the queries out.
          tokens: [B, T] int, words; None: none.
          mask: [B, T] bool, True where there is a word; None: everywhere.

        Returns:
          [B, Q + T, width], queries first.
        """
        parts, visible, count = [], [], 0
        if memory is not None:
            count = self.num_queries
            parts.append(jnp.broadcast_to(self.query_tokens, (len(memory), count, self.width)))
            visible.append(jnp.ones(parts[0].shape[:2], bool))
        if tokens is not None:
            parts.append(self.embed_tokens(tokens) + self.embed_positions(jnp.arange(tokens.shape[1])))
            visible.append(jnp.ones(tokens.shape, bool) if mask is None else mask.astype(bool))
        x, readable = self.norm(jnp.concatenate(parts, 1)), jnp.concatenate(visible, 1)[:, None, None]
        for block in self.blocks:
            x = block(x, memory, count, readable)
        return x
