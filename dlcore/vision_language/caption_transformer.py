"""Captions by a transformer: the positions of an image are an encoder's tokens, and a decoder attends to them.

    memory = encoder(W f(image) + P)             f: the last map of a CNN or of a ViT, a token a position
    x = E[w_1 .. w_{t-1}] + Q;  x = block(x, memory) for each block (causal self-attention, cross-attention, perceptron)
    p(w_t) = softmax(W_o LN(x_{t-1}))

Vaswani et al. 2017, arXiv:1706.03762, with pre-norm; on grids of a CNN as in Cornia et al. 2020, arXiv:1912.08226,
without its memory slots. While it writes, the decoder keeps keys and values of its own words and of the image
(`nn/cache.py`): a word costs one row of attention.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.nn import Dense
from dlcore.nn.attention import causal_mask
from dlcore.nn.embed import Embed
from dlcore.nn.group_norm import LayerNorm
from dlcore.nn.transformer import TransformerDecoderBlock, TransformerEncoderBlock
from dlcore.ops.precision import to_acc_dtype
from dlcore.vision_language.caption_rnn import Captioner, last_map

__all__ = ["CaptionTransformer"]


class CaptionTransformer(Captioner):
    """A transformer captioner. Submodules `backbone`, `grid`, `place`, `encoder_0`, `blocks_0`, ...

    Args:
      backbone: backbone from `dlcore.models`; its last map gives the encoder's tokens.
      vocab_size: V, different tokens.
      window: the most tokens that it reads, START and the words.
      width: features of a token.
      num_heads: heads of each attention; divides the width.
      encoder_layers: blocks of self-attention over the image's positions.
      decoder_layers: blocks over the words.
      dropout: probability to drop a value of an embedding, of a branch or an attention weight in training.
      dtype: dtype of the computation; None takes the parameters'.
    """

    backbone: nn.Module
    vocab_size: int
    window: Annotated[int, Range(1)] = 64
    width: Annotated[int, Range(1)] = 128
    num_heads: Annotated[int, Range(1)] = 4
    encoder_layers: Annotated[int, Range(0)] = 1
    decoder_layers: Annotated[int, Range(1)] = 2
    dropout: Annotated[float, Range(0, 1)] = 0.0
    dtype: Any = None

    def setup(self):
        """Build the layers."""
        init = nn.initializers.normal(0.02)
        self.grid = Dense(self.width, dtype=self.dtype)
        self.place = _Place()
        self.encoder = [self._block(TransformerEncoderBlock) for _ in range(self.encoder_layers)]
        self.memory_norm = LayerNorm(dtype=self.dtype)
        self.embed = Embed(self.vocab_size, self.width, embedding_init=init, dtype=self.dtype)
        self.position = Embed(self.window, self.width, embedding_init=init, dtype=self.dtype)
        self.blocks = [self._block(TransformerDecoderBlock) for _ in range(self.decoder_layers)]
        self.norm = LayerNorm(dtype=self.dtype)
        self.head = Dense(self.vocab_size, dtype=self.dtype)
        self.drop = nn.Dropout(self.dropout)

    def _block(self, kind: Any, **fields: Any) -> Any:
        return kind(
            self.num_heads,
            4 * self.width,
            pre_norm=True,
            activation=nn.gelu,
            dropout_rate=self.dropout,
            attention_dropout_rate=self.dropout,
            dtype=self.dtype,
            **fields,
        )

    def encode(self, images: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """Encode images.

        Args:
          images: [B, H, W, 3].
          train: apply dropout, and use the batch's statistics.

        Returns:
          The memory: {"grid": [B, h, w, width]}.
        """
        x = self.place(self.grid(last_map(self.backbone, images, train)))
        shape, x = x.shape, self.drop(x.reshape(x.shape[0], -1, self.width), deterministic=not train)
        for block in self.encoder:
            x = block(x, train)
        return {"grid": self.memory_norm(x).reshape(shape)}

    def decode(self, memory: dict[str, jax.Array], tokens: jax.Array, train: bool = False) -> jax.Array:
        """Compute the logits of each next token by teacher forcing.

        Args:
          memory: memory from `encode`.
          tokens: [B, T] int, START w1 .. .
          train: apply dropout.

        Returns:
          [B, T, V], at least float32.
        """
        length = tokens.shape[1]
        if length > self.window:
            raise ValueError(f"tokens.shape={tokens.shape}: {length} tokens; allowed: at most window={self.window}")
        grid = _tokens(memory["grid"])
        x = self._embedded(tokens, jnp.arange(length), train)
        for block in self.blocks:
            x = block(x, grid, train, causal_mask(length))
        return self._logits(x)

    def start(self, memory: dict[str, jax.Array], length: int) -> dict[str, Any]:
        """Make the carry before the first token.

        Args:
          memory: memory from `encode`.
          length: tokens that will be written at most.

        Returns:
          The carry: the image until the first step has projected it, and an empty cache a block.
        """
        if length > self.window:
            raise ValueError(f"length={length}: too long; allowed: at most window={self.window}")
        grid = _tokens(memory["grid"])
        empty = self._block(TransformerDecoderBlock, parent=None).init_cache(grid.shape[0], length, self.width)
        return {"grid": grid, "cache": (empty,) * self.decoder_layers}

    def step(self, carry: dict[str, Any], tokens: jax.Array) -> tuple[dict[str, Any], jax.Array]:
        """Decode one step.

        Args:
          carry: after the tokens before.
          tokens: [B] int.

        Returns:
          (carry after it, logits [B, V] of the next).
        """
        cache = carry["cache"]
        x, after = self._embedded(tokens[:, None], cache[0]["self"].length[:, None], False), []
        for block, before in zip(self.blocks, cache, strict=True):
            x, state = block(x, carry.get("grid"), cache=before)
            after.append(state)
        return {"cache": tuple(after)}, self._logits(x)[:, 0]

    def alignment(self, intermediates: dict[str, Any]) -> jax.Array:
        """Read the last block's cross-attention.

        Args:
          intermediates: intermediates that `decode` has sown.

        Returns:
          [B, T, h w], the mean over heads, with sum 1 over positions: where the decoder looked before each word.
        """
        return intermediates[f"blocks_{self.decoder_layers - 1}"]["cross_attn"]["weights"][0].mean(1)

    def _embedded(self, tokens: jax.Array, position: jax.Array, train: bool) -> jax.Array:
        return self.drop(self.embed(tokens) + self.position(position), deterministic=not train)

    def _logits(self, x: jax.Array) -> jax.Array:
        logits = self.head(self.norm(x))
        return to_acc_dtype(logits)


class _Place(nn.Module):
    """A learned vector at each position of a grid, added to it."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        position_embedding = self.param("embedding", nn.initializers.normal(0.02), x.shape[1:])
        return x + position_embedding.astype(x.dtype)


def _tokens(grid: jax.Array) -> jax.Array:
    return grid.reshape(grid.shape[0], -1, grid.shape[-1])
