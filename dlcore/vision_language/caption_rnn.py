"""Captioning by a recurrent network conditioned on one image vector: as the initial state, or at every step.

    v   = relu(U relu(W f(image) + c) + b)       f: the backbone's last map, flattened
    h_0 = tanh(V v)                              inject="initial"     (Vinyals et al. 2015, arXiv:1411.4555)
    h_t = tanh(W_xh x_t + W_hh h_{t-1} + W_ih v)  inject="every_step"  (Karpathy & Fei-Fei 2015, arXiv:1412.2306)
    p(w_t) = softmax(W_ho h_t)

An LSTM or a GRU takes the term W_ih v in each of its gates. With W_ih = 0 what is left is a language model, to the bit.
The flattened map keeps positions, which global average pooling would lose. An LSTM's cell state starts as V' v, without
tanh.
"""

from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.learner import Range
from dlcore.nn import Dense
from dlcore.nn.embed import Embed
from dlcore.nn.recurrent import Recurrent
from dlcore.nn.recurrent_cells import RECURRENT_CELLS
from dlcore.ops.precision import acc_dtype_of, to_acc_dtype

__all__ = ["CaptionRNN", "Captioner", "last_map"]


def last_map(backbone: nn.Module, images: jax.Array, train: bool) -> jax.Array:
    """Compute the last map of a backbone: the grid of positions that a captioner looks at.

    Args:
      backbone: backbone from `dlcore.models`, or any module with `features(images, train) -> {name: [B, h, w, C]}`.
      images: [B, H, W, 3].
      train: passed to the backbone.

    Returns:
      [B, h, w, C].
    """
    return list(backbone.features(images, train).values())[-1]


class Captioner(nn.Module):
    """A network whose `decode` reads a caption beside what its `encode` made of the image."""

    def __call__(self, images: jax.Array, tokens: jax.Array, train: bool = False) -> jax.Array:
        """Compute the logits of each next token of a caption.

        Args:
          images: [B, H, W, 3].
          tokens: [B, T] int, START w1 .. .
          train: apply dropout, with the "dropout" rng, and use the batch's statistics.

        Returns:
          [B, T, V].
        """
        return self.decode(self.encode(images, train), tokens, train)


class CaptionRNN(Captioner):
    """A recurrent captioner. Submodules `backbone`, `squeeze`, `image`, `inject_state_0`, `embed`, `recurrent`, `head`.

    Args:
      backbone: backbone from `dlcore.models`; its last map is the image.
      vocab_size: V, different tokens.
      cell: "rnn", "lstm" or "gru".
      inject: "initial": the image is the first state; "every_step": a term of every step.
      hidden_size: H, size of the recurrent state.
      embedding_dim: size of the learned vector of a token.
      image_channels: channels of the map before it is flattened.
      image_features: size of v.
      dropout: probability to drop a value of v, of an embedding or of the layer before the logits, in training.
      dtype: dtype of the computation; None takes the parameters'.
    """

    backbone: nn.Module
    vocab_size: int
    cell: str
    inject: Literal["initial", "every_step"] = "initial"
    hidden_size: Annotated[int, Range(1)] = 256
    embedding_dim: Annotated[int, Range(1)] = 128
    image_channels: Annotated[int, Range(1)] = 32
    image_features: Annotated[int, Range(1)] = 256
    dropout: Annotated[float, Range(0, 1)] = 0.0
    dtype: Any = None

    def setup(self):
        """Build the layers."""
        check_choice("inject", self.inject, ("initial", "every_step"))
        self.squeeze = Dense(self.image_channels, dtype=self.dtype)
        self.image = Dense(self.image_features, dtype=self.dtype)
        self.embed = Embed(
            self.vocab_size, self.embedding_dim, embedding_init=nn.initializers.normal(1.0), dtype=self.dtype
        )
        self.recurrent = Recurrent(self.hidden_size, self.cell, dtype=self.dtype)
        cell = RECURRENT_CELLS[self.cell]
        if self.inject == "initial":
            self.inject_state = [Dense(self.hidden_size, dtype=self.dtype) for _ in range(cell.states)]
        else:
            self.inject_term = Dense(cell.gates * self.hidden_size, use_bias=False, dtype=self.dtype)
        self.head = Dense(self.vocab_size, dtype=self.dtype)
        self.drop = nn.Dropout(self.dropout)

    def encode(self, images: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """Encode images.

        Args:
          images: [B, H, W, 3].
          train: apply dropout, and use the batch's statistics.

        Returns:
          The memory: {"vector": [B, image_features]}.
        """
        x = nn.relu(self.squeeze(last_map(self.backbone, images, train)))
        x = nn.relu(self.image(x.reshape(x.shape[0], -1)))
        return {"vector": self.drop(x, deterministic=not train)}

    def decode(self, memory: dict[str, jax.Array], tokens: jax.Array, train: bool = False) -> jax.Array:
        """Compute the logits of each next token by teacher forcing.

        Args:
          memory: output of `encode`.
          tokens: [B, T] int, START w1 .. .
          train: apply dropout.

        Returns:
          [B, T, V], at least float32.
        """
        return self._read(self.start(memory), tokens, train)[1]

    def start(self, memory: dict[str, jax.Array], length: int = 0) -> dict[str, Any]:
        """Compute the initial carry.

        Args:
          memory: output of `encode`.
          length: maximal number of generated tokens; unused here.

        Returns:
          The carry.
        """
        vector = memory["vector"]
        if self.inject == "every_step":
            return {"state": self.recurrent.initial_carry(vector.shape[0]), "term": self.inject_term(vector)}
        acc_dtype = acc_dtype_of(vector.dtype)
        hidden, *other_states = (layer(vector).astype(acc_dtype) for layer in self.inject_state)
        return {"state": (jnp.tanh(hidden), *other_states), "term": None}

    def step(self, carry: dict[str, Any], tokens: jax.Array) -> tuple[dict[str, Any], jax.Array]:
        """Decode one step.

        Args:
          carry: after the tokens before.
          tokens: [B] int.

        Returns:
          (carry after it, logits [B, V] of the next).
        """
        carry, logits = self._read(carry, tokens[:, None], False)
        return carry, logits[:, 0]

    @staticmethod
    def alignment(intermediates: dict[str, Any]) -> None:
        """Return None: this captioner has no attention.

        Args:
          intermediates: intermediates that `decode` has sown.

        Returns:
          None.
        """

    def _read(self, carry: dict[str, Any], tokens: jax.Array, train: bool) -> tuple[dict[str, Any], jax.Array]:
        x = self.drop(self.embed(tokens), deterministic=not train)
        state, h = self.recurrent(carry["state"], x, term=carry["term"])
        logits = self.head(self.drop(h, deterministic=not train))
        return carry | {"state": state}, to_acc_dtype(logits)
