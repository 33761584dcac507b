"""A recurrent encoder-decoder, without attention or with it.

Cho et al. 2014, arXiv:1406.1078 (the GRU, and a summary fed at every step); Bahdanau, Cho & Bengio 2014,
arXiv:1409.0473 (attention).

    h_1 .. h_S = a GRU from each end, over the embedded source          summary: [last state of each]
    s_0 = tanh(W [summary])
    s_t = GRU(s_{t-1}, [embed(y_{t-1}); c_t])
    c_t = summary, the same at every step: all that the decoder knows goes through it       attention="none"
    c_t = sum_i a_ti h_i,  a_t = additive attention of s_{t-1} to h_1 .. h_S                 attention="additive"
    p(y_t) = softmax(E tanh(U [s_t; c_t; embed(y_{t-1})]) + b)

embed(y) is the row y of E times the root of its size. U starts at zero, so that the first loss is log V.

As in Bahdanau's model the state before the step decides where to look. Products that do not depend on the state, of
the embedding before the loop and of the output after it, are taken for all steps at once.
"""

from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.data.words import PAD
from dlcore.learner import Range
from dlcore.nn import Dense
from dlcore.nn.additive_attention import AdditiveAttention
from dlcore.nn.embed import Embed
from dlcore.nn.recurrent import BidirectionalRecurrent, orthogonal_by_gate
from dlcore.nn.recurrent_cells import gru_cell
from dlcore.ops.precision import to_acc_dtype

__all__ = ["RecurrentEncoderDecoder"]


class RecurrentEncoderDecoder(nn.Module):
    """A recurrent encoder-decoder for `dlcore.sequence.seq2seq`.

    Submodules `embed` (and `source_embed`, where the source has a vocabulary of its own), `encoder`,
    `bridge`, `decoder`, `readout`; parameter `bias` of the logits.

    Args:
      vocab_size: V, tokens of the target.
      source_vocab_size: tokens of the source; None means one vocabulary, and one table, for both.
      attention: "additive" looks at the encoder's states anew at every step; "none" keeps to their summary.
      hidden_size: H, of the decoder's state and of the encoder's in each direction.
      embedding_dim: size of the learned vector of a token.
      dropout_rate: probability to drop a value of an embedding or of the layer before the logits, in training.
      unroll: time steps in one turn of the loops; it changes speed alone.
      dtype: dtype of the matrix products; None means by promotion.
    """

    vocab_size: int
    source_vocab_size: int | None
    attention: Literal["none", "additive"]
    hidden_size: Annotated[int, Range(1)] = 256
    embedding_dim: Annotated[int, Range(1)] = 256
    dropout_rate: Annotated[float, Range(0, 1)] = 0.0
    unroll: Annotated[int, Range(1)] = 1
    dtype: Any = None

    def setup(self):
        """Build the embeddings, the encoder's two directions, the decoder and the layer before the logits."""
        check_choice("attention", self.attention, ("none", "additive"))
        init = nn.initializers.normal(self.embedding_dim**-0.5)
        self.embed = Embed(self.vocab_size, self.embedding_dim, embedding_init=init, dtype=self.dtype)
        if self.source_vocab_size is not None:
            self.source_embed = Embed(self.source_vocab_size, self.embedding_dim, embedding_init=init, dtype=self.dtype)
        self.encoder = BidirectionalRecurrent(self.hidden_size, "gru", unroll=self.unroll, dtype=self.dtype)
        self.bridge = Dense(self.hidden_size, dtype=self.dtype)
        self.decoder = _Decoder(self.hidden_size, self.attention == "additive", self.unroll, self.dtype)
        self.readout = Dense(self.embedding_dim, dtype=self.dtype, kernel_init=nn.initializers.zeros)
        self.bias = self.param("bias", nn.initializers.zeros, (self.vocab_size,))
        self.dropout = nn.Dropout(self.dropout_rate)

    def __call__(self, source: jax.Array, tokens: jax.Array, train: bool = False) -> jax.Array:
        """Read the source, and give the logits of each next token of the target.

        Args:
          source: [B, S] int, w1 .. wn END PAD.
          tokens: [B, T] int, START w1 .. ; the right ones.
          train: apply dropout, with the "dropout" rng.

        Returns:
          [B, T, V].
        """
        return self.decode(self.encode(source, train), tokens, train)

    def encode(self, source: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """Read the source from both ends.

        Args:
          source: [B, S] int, w1 .. wn END PAD.
          train: apply dropout.

        Returns:
          The memory: `summary: [B, 2 H]` and, for attention, `states: [B, S, 2 H]`, `projected` (of these, for the
          scores) and `mask: [B, S]`.
        """
        mask = source != PAD
        table = self.embed if self.source_vocab_size is None else self.source_embed
        x = self.dropout(self._scaled(table(source)), deterministic=not train)
        last, states = self.encoder(self.encoder.initial_carry(source.shape[0]), x, mask.sum(1))
        memory = {"summary": jnp.concatenate([state for (state,) in last], -1)}
        if self.attention == "none":
            return memory
        return memory | {"states": states, "projected": self.decoder.attend.project(states), "mask": mask}

    def decode(self, memory: dict[str, jax.Array], tokens: jax.Array, train: bool = False) -> jax.Array:
        """Compute the logits of each next token by teacher forcing.

        Args:
          memory: memory from `encode`.
          tokens: [B, T] int, START w1 .. .
          train: apply dropout.

        Returns:
          [B, T, V].
        """
        _, logits, weights = self._read(self._first_state(memory), memory, tokens, train)
        if weights is not None:
            self.sow("intermediates", "alignment", weights)
        return logits

    def start(self, memory: dict[str, jax.Array], length: int) -> dict[str, Any]:
        """Make the carry before the first token.

        Args:
          memory: memory from `encode`.
          length: tokens that will be written at most; of no account here.

        Returns:
          The carry.
        """
        return {"memory": memory, "state": self._first_state(memory)}

    def step(self, carry: dict[str, Any], tokens: jax.Array) -> tuple[dict[str, Any], jax.Array]:
        """Decode one step.

        Args:
          carry: after the tokens before.
          tokens: [B] int.

        Returns:
          (carry after it, logits [B, V] of the next).
        """
        state, logits, _ = self._read(carry["state"], carry["memory"], tokens[:, None], False)
        return carry | {"state": state}, logits[:, 0]

    @staticmethod
    def alignment(intermediates: dict[str, Any]) -> jax.Array | None:
        """Read the attention's weights.

        Args:
          intermediates: intermediates that `decode` has sown.

        Returns:
          [B, T, S] with sum 1 over S; None without attention.
        """
        return intermediates["alignment"][0] if "alignment" in intermediates else None

    def _scaled(self, embedded: jax.Array) -> jax.Array:
        return embedded * self.embedding_dim**0.5

    def _first_state(self, memory: dict[str, jax.Array]) -> jax.Array:
        state = jnp.tanh(self.bridge(memory["summary"]))
        return to_acc_dtype(state)

    def _read(
        self, state: jax.Array, memory: dict[str, jax.Array], tokens: jax.Array, train: bool
    ) -> tuple[jax.Array, jax.Array, jax.Array | None]:
        x = self.dropout(self._scaled(self.embed(tokens)), deterministic=not train)
        state, (states, contexts, weights) = self.decoder(state, memory, x)
        h = jnp.tanh(self.readout(jnp.concatenate([states.astype(x.dtype), contexts.astype(x.dtype), x], -1)))
        logits = self.embed.attend(self.dropout(h, deterministic=not train))
        return state, to_acc_dtype(logits) + self.bias, weights


class _Decoder(nn.Module):
    """A GRU over embedded tokens and contexts: (state [B, H], memory, x [B, T, E]) -> (state, what happened)."""

    features: int
    attends: bool
    unroll: int
    dtype: Any

    def setup(self):
        self.input = Dense(3 * self.features, dtype=self.dtype)
        self.context = Dense(3 * self.features, use_bias=False, dtype=self.dtype)
        self.hidden = Dense(3 * self.features, dtype=self.dtype, kernel_init=orthogonal_by_gate(3))
        if self.attends:
            self.attend = AdditiveAttention(self.features, dtype=self.dtype)

    def __call__(
        self, state: jax.Array, memory: dict[str, jax.Array], x: jax.Array
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array, jax.Array | None]]:
        acc_dtype, a = state.dtype, self.input(x)
        if not self.attends:
            a = a + self.context(memory["summary"])[:, None]

        def one(self, state, a):
            context, weights = memory["summary"], None
            if self.attends:
                keys = memory["states"], memory["mask"], memory["projected"]
                context, weights = self.attend(state[:, None], keys[0], mask=keys[1], projected=keys[2])
                context, weights = context[:, 0], weights[:, 0]
                a = a + self.context(context)
            (state,) = gru_cell((state,), a.astype(acc_dtype), self.hidden(state).astype(acc_dtype))
            return state, (state, context, weights)

        scan = nn.scan(
            one, variable_broadcast="params", split_rngs={"params": False}, in_axes=1, out_axes=1, unroll=self.unroll
        )
        return scan(self, state, a)
