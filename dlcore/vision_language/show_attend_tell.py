"""Show, attend and tell: an LSTM that looks at the image anew before each word.

Xu et al. 2015, arXiv:1502.03044, with soft attention.

    a_1 .. a_S   the backbone's last map, a vector a position
    alpha_t = softmax_i(v . tanh(W s_{t-1} + U a_i))         additive attention, s: the LSTM's output
    z_t = sigmoid(b . s_{t-1}) sum_i alpha_ti a_i             the context; the gate says how much the word needs it
    s_t = LSTM(s_{t-1}, [embed(w_{t-1}); z_t]),   (s_0, c_0) from the mean of a
    p(w_t) = softmax(W_o tanh(W_s s_t + W_z z_t + W_e embed(w_{t-1})))
    L = -sum_t log p(w_t) + lambda sum_i (1 - sum_t alpha_ti)^2

The penalty, lambda = `alignment_penalty`, asks that every position be looked at about once in a caption; the learner
adds it, without padding. Where there are more positions than words it is least when every look is spread evenly: on
drawn shapes, of 64 positions and ten words, lambda = 1 keeps the network from looking at anything, and 0 is better.
Here a_i knows its place: it is LN(W [map_i, y_i, x_i]), because what a small network sees at one position does not say
where that is.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.nn import Dense
from dlcore.nn.additive_attention import AdditiveAttention
from dlcore.nn.embed import Embed
from dlcore.nn.group_norm import LayerNorm
from dlcore.nn.recurrent import orthogonal_by_gate
from dlcore.nn.recurrent_cells import lstm_cell
from dlcore.ops.precision import acc_dtype_of, to_acc_dtype
from dlcore.vision_language.caption_rnn import Captioner, last_map
from dlcore.vision_language.networks import append_coordinates

__all__ = ["ShowAttendTell"]


class ShowAttendTell(Captioner):
    """An attending captioner. Submodules `backbone`, `grid`, `norm`, `embed`, `bridge`, `decoder`, `readout`, `head`.

    Args:
      backbone: backbone from `dlcore.models`; its last map is what the decoder looks at.
      vocab_size: V, different tokens.
      alignment_penalty: lambda; the paper's is 1.
      hidden_size: H, of the LSTM.
      embedding_dim: size of the learned vector of a token.
      attention_features: units between state, position and score.
      image_features: feature vector of each position.
      dropout: probability to drop a value of an embedding or of the layer before the logits, in training.
      dtype: dtype of the computation; None takes the parameters'.
    """

    backbone: nn.Module
    vocab_size: int
    alignment_penalty: Annotated[float, Range(0)] = 1.0
    hidden_size: Annotated[int, Range(1)] = 256
    embedding_dim: Annotated[int, Range(1)] = 128
    attention_features: Annotated[int, Range(1)] = 128
    image_features: Annotated[int, Range(1)] = 128
    dropout: Annotated[float, Range(0, 1)] = 0.0
    dtype: Any = None

    def setup(self):
        """Build the layers."""
        self.grid = Dense(self.image_features, dtype=self.dtype)
        self.norm = LayerNorm(dtype=self.dtype)
        self.embed = Embed(
            self.vocab_size, self.embedding_dim, embedding_init=nn.initializers.normal(1.0), dtype=self.dtype
        )
        self.bridge = Dense(2 * self.hidden_size, dtype=self.dtype)
        self.decoder = _Decoder(self.hidden_size, self.attention_features, self.dtype)
        self.readout = Dense(self.hidden_size, dtype=self.dtype)
        self.head = Dense(self.vocab_size, dtype=self.dtype)
        self.drop = nn.Dropout(self.dropout)

    def encode(self, images: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """Encode images.

        Args:
          images: [B, H, W, 3].
          train: use the batch's statistics.

        Returns:
          The memory: {"grid": [B, h, w, image_features]}.
        """
        grid = last_map(self.backbone, images, train)
        keys = self.norm(self.grid(append_coordinates(grid)))
        return {"grid": keys.reshape(*grid.shape[:3], -1)}

    def decode(self, memory: dict[str, jax.Array], tokens: jax.Array, train: bool = False) -> jax.Array:
        """Compute the logits of each next token by teacher forcing.

        Args:
          memory: memory from `encode`.
          tokens: [B, T] int, START w1 .. .
          train: apply dropout.

        Returns:
          [B, T, V], at least float32. Sows the weights of the positions as "alignment".
        """
        _, logits, weights = self._read(self.start(memory), tokens, train)
        self.sow("intermediates", "alignment", weights)
        return logits

    def start(self, memory: dict[str, jax.Array], length: int = 0) -> dict[str, Any]:
        """Make the carry before the first token.

        Args:
          memory: memory from `encode`.
          length: tokens that will be written at most; of no account here.

        Returns:
          The carry.
        """
        grid = memory["grid"]
        keys = grid.reshape(grid.shape[0], -1, grid.shape[-1])
        state = self.bridge(keys.mean(1)).astype(acc_dtype_of(grid.dtype))
        h, c = jnp.split(state, 2, -1)
        return {"state": (jnp.tanh(h), c), "keys": keys, "projected": self.decoder.attend.project(keys)}

    def step(self, carry: dict[str, Any], tokens: jax.Array) -> tuple[dict[str, Any], jax.Array]:
        """Decode one step.

        Args:
          carry: after the tokens before.
          tokens: [B] int.

        Returns:
          (carry after it, logits [B, V] of the next).
        """
        carry, logits, _ = self._read(carry, tokens[:, None], False)
        return carry, logits[:, 0]

    @staticmethod
    def alignment(intermediates: dict[str, Any]) -> jax.Array:
        """Read the attention's weights.

        Args:
          intermediates: intermediates that `decode` has sown.

        Returns:
          [B, T, h w] with sum 1 over positions: where the decoder looked before each word.
        """
        return intermediates["alignment"][0]

    def _read(self, carry: dict[str, Any], tokens: jax.Array, train: bool) -> tuple[dict, jax.Array, jax.Array]:
        x = self.drop(self.embed(tokens), deterministic=not train)
        state, (states, contexts, weights) = self.decoder(carry["state"], carry["keys"], carry["projected"], x)
        h = jnp.tanh(self.readout(jnp.concatenate([states.astype(x.dtype), contexts.astype(x.dtype), x], -1)))
        logits = self.head(self.drop(h, deterministic=not train))
        return carry | {"state": state}, to_acc_dtype(logits), weights


class _Decoder(nn.Module):
    """An LSTM over embedded tokens and contexts: (state, keys [B, S, C], U keys, x [B, T, E]) -> (state, each step)."""

    features: int
    attention_features: int
    dtype: Any

    def setup(self):
        self.input = Dense(4 * self.features, dtype=self.dtype)
        self.context = Dense(4 * self.features, use_bias=False, dtype=self.dtype)
        self.hidden = Dense(4 * self.features, dtype=self.dtype, kernel_init=orthogonal_by_gate(4))
        self.gate = Dense(1, dtype=self.dtype)
        self.attend = AdditiveAttention(self.attention_features, dtype=self.dtype)

    def __call__(
        self, state: tuple[jax.Array, jax.Array], keys: jax.Array, projected: jax.Array, x: jax.Array
    ) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, jax.Array, jax.Array]]:
        acc_dtype = state[0].dtype

        def one(self, state, a):
            context, weights = self.attend(state[0][:, None], keys, projected=projected)
            # A gate decides how much of the context enters.
            context = nn.sigmoid(self.gate(state[0])) * context[:, 0]
            a = (a + self.context(context)).astype(acc_dtype)
            state = lstm_cell(state, a, self.hidden(state[0]).astype(acc_dtype))
            return state, (state[0], context, weights[:, 0])

        scan = nn.scan(one, variable_broadcast="params", split_rngs={"params": False}, in_axes=1, out_axes=1)
        return scan(self, state, self.input(x))
