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
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models.encoder_decoder import EncoderDecoder
from dlcore.nn.embed import Embed
from dlcore.nn.group_norm import LayerNorm
from dlcore.nn.position import sinusoidal_encoding
from dlcore.nn.transformer import TransformerDecoderBlock, TransformerEncoderBlock

__all__ = ["Transformer"]


class Transformer(EncoderDecoder):
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

    pad_token = 0

    def setup(self):
        """Build the embeddings, the blocks and the last norm of each stack."""
        init = nn.initializers.normal(0.02)
        self.embed = Embed(self.vocab_size, self.features, embedding_init=init, dtype=self.dtype)
        if self.source_vocab_size is not None:
            self.source_embed = Embed(self.source_vocab_size, self.features, embedding_init=init, dtype=self.dtype)
        self.encoder = [self._block(TransformerEncoderBlock) for _ in range(self.encoder_layers)]
        self.decoder = [self._block(TransformerDecoderBlock) for _ in range(self.decoder_layers)]
        self.encoder_norm, self.decoder_norm = (LayerNorm(dtype=self.dtype) for _ in range(2))
        self.dropout = nn.Dropout(self.dropout_rate)

    @nn.nowrap
    def _block(self, kind: Any) -> Any:
        return kind(
            self.num_heads,
            self.hidden_features,
            pre_norm=self.pre_norm,
            dropout_rate=self.dropout_rate,
            attention_dropout_rate=self.attention_dropout_rate,
            dtype=self.dtype,
        )

    @staticmethod
    def alignment(intermediates: dict[str, Any]) -> jax.Array:
        """Read the weights of the last block's attention to the source, averaged over its heads.

        Args:
          intermediates: intermediates that `decode` has sown.

        Returns:
          [B, T, S] with sum 1 over S.
        """
        blocks = [name for name in intermediates if name.startswith("decoder_")]
        last = max(blocks, key=lambda name: int(name.rpartition("_")[2]))
        return intermediates[last]["cross_attn"]["weights"][0].mean(1)

    def embedded(self, side: str, tokens: jax.Array, positions: jax.Array, train: bool) -> jax.Array:
        """Embed tokens at their positions."""
        has_source_embedding = side == "encoder" and self.source_vocab_size is not None
        x = (self.source_embed if has_source_embedding else self.embed)(tokens) * self.features**0.5
        x = x + sinusoidal_encoding(positions, self.features).astype(x.dtype)
        return self.dropout(x, deterministic=not train)

    def finish(self, side: str, x: jax.Array, train: bool) -> jax.Array:
        """Apply the final norm to the hidden states."""
        return (self.encoder_norm if side == "encoder" else self.decoder_norm)(x)

    def logits(self, x: jax.Array) -> jax.Array:
        """Compute logits by the transposed target embedding (tied weights)."""
        return self.embed.attend(x)
