"""Networks over sequences of tokens."""

from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.nn import Dense
from dlcore.nn.embed import Embed
from dlcore.nn.recurrent import RecurrentStack
from dlcore.ops.precision import acc_dtype_of

__all__ = ["CharRNN"]

Cell = Literal["lstm", "gru", "rnn", "lstm_no_forget", "lstm_no_output", "lstm_coupled", "lstm_peephole"]


class CharRNN(nn.Module):
    """A recurrent network that predicts the next token.

    Args:
      vocab_size: V, different tokens.
      hidden_size: width of each recurrent layer.
      num_layers: recurrent layers.
      cell: cell of the recurrent layers.
      embedding_dim: size of a learned vector a token; 0 feeds one-hot vectors, each of which picks a row of the first
        layer's kernel.
      unroll: time steps in one turn of the loop; it changes speed alone.
      dtype: dtype of the computation; None takes the parameters'.
    """

    vocab_size: int
    hidden_size: Annotated[int, Range(1)] = 256
    num_layers: Annotated[int, Range(1)] = 1
    cell: Cell = "lstm"
    embedding_dim: Annotated[int, Range(0)] = 0
    unroll: Annotated[int, Range(1)] = 1
    dtype: Any = None

    def setup(self):
        """Build the embedding (if any), the recurrent layers and the head, which starts at zero."""
        unit = nn.initializers.normal(1.0)
        if self.embedding_dim:
            self.embed = Embed(self.vocab_size, self.embedding_dim, embedding_init=unit, dtype=self.dtype)
        self.recurrent = RecurrentStack(
            self.hidden_size,
            self.num_layers,
            self.cell,
            self.unroll,
            self.dtype,
            nn.initializers.lecun_normal() if self.embedding_dim else unit,
        )
        self.head = Dense(self.vocab_size, kernel_init=nn.initializers.zeros, dtype=self.dtype)

    def start(self, batch_size: int) -> Any:
        """Make the zero carry.

        Args:
          batch_size: B, sequences.

        Returns:
          The carry, leaves [B, hidden_size].
        """
        return RecurrentStack(self.hidden_size, self.num_layers, self.cell, parent=None).initial_carry(batch_size)

    def __call__(self, carry: Any, tokens: jax.Array) -> tuple[Any, jax.Array]:
        """Read tokens on from a carry.

        Args:
          carry: after the tokens before.
          tokens: [B, T] int.

        Returns:
          (carry after them, logits [B, T, V] of the token after each); the first loss is log V.
        """
        if self.embedding_dim:
            x = self.embed(tokens.astype(jnp.int32))
        else:
            x = jax.nn.one_hot(tokens, self.vocab_size, dtype=self.dtype or jnp.float32)
        carry, h = self.recurrent(carry, x)
        return carry, self.head(h).astype(acc_dtype_of(h.dtype))
