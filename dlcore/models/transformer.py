"""The transformer of 2017: an encoder and a decoder of attention blocks, to be trained from scratch.

    memory = LN(blocks(sqrt(D) E[source] + PE)),   logits = LN(blocks(sqrt(D) E[tokens] + PE, memory)) E^T

Vaswani et al., "Attention is all you need" (2017), arXiv:1706.03762. E is the embedding of the target and the head, and
that of the source too where both share a vocabulary. Its entries start as N(0, 0.02^2), so that the first loss is about
log V. As in torch's `nn.Transformer` both stacks end in a layer norm, which pre-norm blocks need. Token 0 is padding.
At its published size (6 + 6 blocks of 512/2048) the blocks and the two norms have 44,140,544 parameters:
6 x 3,152,384 + 6 x 4,204,032 + 2 x 1,024.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.nn.attention import causal_mask
from dlcore.nn.group_norm import LayerNorm
from dlcore.nn.position import sinusoidal_encoding
from dlcore.nn.transformer import TransformerDecoderBlock, TransformerEncoderBlock

__all__ = ["Transformer"]


class Transformer(nn.Module):
    """A transformer encoder-decoder: (source [B, S], tokens [B, T]) -> logits [B, T, V] of the token after each.

    Submodules `embed` (and `source_embed`), `encoder_0` ..., `encoder_norm`, `decoder_0` ..., `decoder_norm`.

    Args:
      vocab_size: V, tokens of the target.
      source_vocab_size: tokens of the source; None means one vocabulary, and one table, for both.
      features: D, of a token; an even number.
      num_heads: attention heads of each block; divides D.
      hidden_features: units of each block's perceptron.
      encoder_layers: blocks of the encoder.
      decoder_layers: blocks of the decoder.
      dropout_rate: probability to drop a value of an embedding, of a branch or of a perceptron in training.
      attention_dropout_rate: probability to drop an attention weight in training.
      pre_norm: normalize the input of each branch instead of the sum after it, which learns without a long warm-up.
      dtype: of computation; None means by promotion.
    """

    vocab_size: int
    source_vocab_size: int | None
    features: Annotated[int, Range(2)] = 512
    num_heads: Annotated[int, Range(1)] = 8
    hidden_features: Annotated[int, Range(1)] = 2048
    encoder_layers: Annotated[int, Range(1)] = 6
    decoder_layers: Annotated[int, Range(1)] = 6
    dropout_rate: Annotated[float, Range(0, 1)] = 0.1
    attention_dropout_rate: Annotated[float, Range(0, 1)] = 0.0
    pre_norm: bool = False
    dtype: Any = None

    def setup(self):
        """Build the embeddings, the blocks and the last norm of each stack."""
        init = nn.initializers.normal(0.02)
        self.embed = nn.Embed(self.vocab_size, self.features, embedding_init=init, dtype=self.dtype)
        if self.source_vocab_size is not None:
            self.source_embed = nn.Embed(self.source_vocab_size, self.features, embedding_init=init, dtype=self.dtype)
        self.encoder = [self._block(TransformerEncoderBlock) for _ in range(self.encoder_layers)]
        self.decoder = [self._block(TransformerDecoderBlock) for _ in range(self.decoder_layers)]
        self.encoder_norm, self.decoder_norm = (LayerNorm(dtype=self.dtype) for _ in range(2))
        self.dropout = nn.Dropout(self.dropout_rate)

    def _block(self, kind: Any, **more: Any) -> Any:
        return kind(
            self.num_heads,
            self.hidden_features,
            pre_norm=self.pre_norm,
            dropout_rate=self.dropout_rate,
            attention_dropout_rate=self.attention_dropout_rate,
            dtype=self.dtype,
            **more,
        )

    def __call__(self, source: jax.Array, tokens: jax.Array, train: bool = False) -> jax.Array:
        """Read the source, and give the logits of each next token of the target.

        Args:
          source: [B, S] int, 0 where it is padded.
          tokens: [B, T] int, the right ones.
          train: apply dropout, with the "dropout" rng.

        Returns:
          [B, T, V], at least float32.
        """
        return self.decode(self.encode(source, train), tokens, train)

    def encode(self, source: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """Read the source.

        Args:
          source: [B, S] int, 0 where it is padded.
          train: apply dropout.

        Returns:
          The memory: `states: [B, S, D]` and `mask: [B, 1, 1, S]`, True where there is a token.
        """
        mask = (source != 0)[:, None, None]
        table = self.embed if self.source_vocab_size is None else self.source_embed
        x = self._embedded(table, source, jnp.arange(source.shape[1]), train)
        for block in self.encoder:
            x = block(x, train, mask)
        return {"states": self.encoder_norm(x), "mask": mask}

    def decode(self, memory: dict[str, jax.Array], tokens: jax.Array, train: bool = False) -> jax.Array:
        """Give the logits of each next token, the right tokens before it being known.

        Args:
          memory: of `encode`.
          tokens: [B, T] int.
          train: apply dropout.

        Returns:
          [B, T, V], at least float32.
        """
        length = tokens.shape[1]
        x = self._embedded(self.embed, tokens, jnp.arange(length), train)
        for block in self.decoder:
            x = block(x, memory["states"], train, causal_mask(length), memory["mask"])
        return self._logits(x)

    def start(self, memory: dict[str, jax.Array], length: int) -> dict[str, Any]:
        """Make the carry before the first token.

        Args:
          memory: of `encode`.
          length: tokens that will be read at most.

        Returns:
          The carry: an empty cache for each block, and the memory, which the first step projects into them.
        """
        rows = memory["states"].shape[0]
        block = self._block(TransformerDecoderBlock, parent=None)
        caches = [block.init_cache(rows, length, self.features) for _ in range(self.decoder_layers)]
        return {"caches": caches, "memory": memory}

    def step(self, carry: dict[str, Any], tokens: jax.Array) -> tuple[dict[str, Any], jax.Array]:
        """Read one token.

        Args:
          carry: after the tokens before.
          tokens: [B] int.

        Returns:
          (carry after it, logits [B, V] of the next).
        """
        memory = carry.get("memory", {})
        position = carry["caches"][0]["self"].length[:, None]
        x, caches = self._embedded(self.embed, tokens[:, None], position, False), []
        for block, cache in zip(self.decoder, carry["caches"], strict=True):
            x, cache = block(x, memory.get("states"), memory_mask=memory.get("mask"), cache=cache)
            caches.append(cache)
        return {"caches": caches}, self._logits(x)[:, 0]

    @staticmethod
    def alignment(intermediates: dict[str, Any]) -> jax.Array:
        """Read the weights of the last block's attention to the source, averaged over its heads.

        Args:
          intermediates: that `decode` has sown.

        Returns:
          [B, T, S] with sum 1 over S.
        """
        blocks = [name for name in intermediates if name.startswith("decoder_")]
        last = max(blocks, key=lambda name: int(name.rpartition("_")[2]))
        return intermediates[last]["cross_attn"]["weights"][0].mean(1)

    def _embedded(self, table: nn.Embed, tokens: jax.Array, position: jax.Array, train: bool) -> jax.Array:
        x = table(tokens) * self.features**0.5
        x = x + sinusoidal_encoding(position, self.features).astype(x.dtype)
        return self.dropout(x, deterministic=not train)

    def _logits(self, x: jax.Array) -> jax.Array:
        logits = self.embed.attend(self.decoder_norm(x))
        return logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
