"""Networks over sequences of tokens."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.nn.recurrent import RecurrentStack

__all__ = ["CharRNN"]


class CharRNN(nn.Module):
    """Logits of the next token: (carry, tokens [B, T] int) -> (carry, logits [B, T, vocabulary_size]).

    embedding: width of a learnt vector a token; 0 feeds one-hot vectors, which pick a row of the first layer's kernel
    (an embedding is the same product, one-hot @ W, without the zeros).
    """

    vocabulary_size: int
    width: int = 256
    num_layers: int = 1
    cell: str = "lstm"
    embedding: int = 0
    unroll: int = 1
    dtype: Any = None

    def setup(self):
        """Embedding (if any), layers and head."""
        unit = nn.initializers.normal(1.0)
        if self.embedding:
            self.embed = nn.Embed(self.vocabulary_size, self.embedding, embedding_init=unit, dtype=self.dtype)
        self.recurrent = RecurrentStack(
            self.width,
            self.num_layers,
            self.cell,
            self.unroll,
            self.dtype,
            nn.initializers.lecun_normal() if self.embedding else unit,
        )
        self.head = nn.Dense(self.vocabulary_size, kernel_init=nn.initializers.zeros, dtype=self.dtype)

    def start(self, batch: int) -> Any:
        """The zero carry of `batch` streams."""
        return RecurrentStack(self.width, self.num_layers, self.cell, parent=None).start(batch)

    def __call__(self, carry: Any, tokens: jax.Array) -> tuple[Any, jax.Array]:
        """Run over the tokens; the head starts at zero, so that the first loss is log V."""
        if self.embedding:
            x = self.embed(tokens.astype(jnp.int32))
        else:
            x = jax.nn.one_hot(tokens, self.vocabulary_size, dtype=self.dtype or jnp.float32)
        carry, h = self.recurrent(carry, x)
        return carry, self.head(h).astype(jnp.promote_types(h.dtype, jnp.float32))
