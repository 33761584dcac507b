"""T5: an encoder-decoder without absolute positions; each head adds a learned bias for the distance of two tokens.

    scores = Q K^T + B[bucket(j - i)]           no factor 1 / sqrt(D); one table a stack, shared by its blocks
    x = x + branch(RMSNorm(x));    logits = RMSNorm(x) E^T / sqrt(D)         no layer has a bias

Raffel et al. 2019, arXiv:1910.10683: every task is a text that is turned into a text. `gated` and `tied=False` give
version 1.1 (and Flan-T5): the MLP is gated, and the head is a layer of its own, without the factor. A target starts
with the padding token, 0. The embedding starts as N(0, 1), other kernels as N(0, 0.02^2), the head of its own as
N(0, 1 / D).

`load_torch` takes the state dict of transformers.
"""

import functools
from typing import Annotated, Any

import jax
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models.encoder_decoder import EncoderDecoder
from dlcore.nn import Dense
from dlcore.nn.activations import relu
from dlcore.nn.embed import Embed
from dlcore.nn.group_norm import RMSNorm
from dlcore.nn.position import RelativePositionBuckets
from dlcore.nn.remat import Remat, remat
from dlcore.nn.transformer import TransformerDecoderBlock, TransformerEncoderBlock

__all__ = ["MODELS", "T5"]

INPUTS = ("source", "tokens")
TORCH_NAMES = (
    (r"^(encoder|decoder)_bias\.", r"\1.block.0.layer.0.SelfAttention.relative_attention_bias."),
    (r"^(encoder|decoder)_norm\.", r"\1.final_layer_norm."),
    (r"^(encoder|decoder)\.(\d+)\.", r"\1.block.\2."),
    (r"\.norm1\.", ".layer.0.layer_norm."),
    (r"\.norm2\.", ".layer.1.layer_norm."),
    (r"\.norm3\.", ".layer.2.layer_norm."),
    (r"\.attn\.", ".layer.0.SelfAttention."),
    (r"\.cross_attn\.", ".layer.1.EncDecAttention."),
    (r"Attention\.(query|key|value|proj)\.", lambda match: f"Attention.{'o' if match[1] == 'proj' else match[1][0]}."),
    (r"^(encoder.*)\.mlp\.", r"\1.layer.1.DenseReluDense."),
    (r"^(decoder.*)\.mlp\.", r"\1.layer.2.DenseReluDense."),
    (r"\.fc1\.", ".wi."),
    (r"\.fc2\.", ".wo."),
    (r"^head\.", "lm_head."),
)
TORCH_OLD_NAMES = ((r"\.wi_0\.", ".gate."), (r"\.wi_1\.", ".wi."))
TORCH_IGNORED = r"EncDecAttention\.relative_attention_bias\.weight$"
TORCH_TIED = dict.fromkeys(
    ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"), "shared.weight"
)


class T5(EncoderDecoder):
    """An encoder and a decoder with relative positions: (source [B, S], tokens [B, T]) -> logits [B, T, V].

    Submodules `shared` (the embedding), and for each side `encoder_0` ..., `encoder_norm` and `encoder_bias`.

    Args:
      vocab_size: V, different tokens of source and target together.
      encoder_layers: blocks of the encoder.
      decoder_layers: blocks of the decoder.
      width: features of a token.
      head_features: features of a head.
      gated: MLP of version 1.1, gated by GELU's tanh form, in place of relu.
      tied: the embedding is the head.
      num_buckets: entries of a head's table of relative positions.
      max_distance: from about this distance on, all tokens share a bucket.
      pad_token: where the source has this token, nothing is seen.
      dropout: probability to drop a value of the embedding, of a branch or an attention weight in training.
      epsilon: epsilon of the norms.
      dtype: dtype of the computation; None takes the parameters'.
    """

    vocab_size: int = 32128
    encoder_layers: Annotated[int, Range(1)] = 6
    decoder_layers: Annotated[int, Range(1)] = 6
    num_heads: Annotated[int, Range(1)] = 8
    width: Annotated[int, Range(1)] = 512
    head_features: Annotated[int, Range(1)] = 64
    mlp_features: Annotated[int, Range(1)] = 2048
    gated: bool = False
    tied: bool = True
    num_buckets: Annotated[int, Range(4)] = 32
    max_distance: Annotated[int, Range(1)] = 128
    pad_token: int = 0
    dropout: Annotated[float, Range(0, 1)] = 0.1
    epsilon: float = 1e-6
    dtype: Any = None
    remat: Remat = "none"

    def setup(self):
        """Build the embedding, the tables of positions, the blocks and the last norms."""
        normal = nn.initializers.normal
        self.shared = Embed(self.vocab_size, self.width, embedding_init=normal(1.0), dtype=self.dtype)
        buckets = functools.partial(RelativePositionBuckets, self.num_heads, self.num_buckets, self.max_distance)
        self.encoder_bias, self.decoder_bias = buckets(bidirectional=True), buckets(bidirectional=False)
        self.encoder = [self._block(TransformerEncoderBlock, 2) for _ in range(self.encoder_layers)]
        self.decoder = [self._block(TransformerDecoderBlock, 3) for _ in range(self.decoder_layers)]
        self.encoder_norm, self.decoder_norm = (RMSNorm(self.epsilon, dtype=self.dtype) for _ in range(2))
        self.drop = nn.Dropout(self.dropout)
        if not self.tied:
            self.head = Dense(self.vocab_size, False, dtype=self.dtype, kernel_init=normal(self.width**-0.5))

    @nn.nowrap
    def _block(self, block: Any, train: int) -> Any:
        """`train`: the number of that argument of the block."""
        return remat(block, self.remat, static_argnums=(train,))(
            self.num_heads,
            self.mlp_features,
            pre_norm=True,
            activation=functools.partial(nn.gelu, approximate=True) if self.gated else relu,
            dropout_rate=self.dropout,
            attention_dropout_rate=self.dropout,
            epsilon=self.epsilon,
            fused_qkv=False,
            dtype=self.dtype,
            kernel_init=nn.initializers.normal(0.02),
            norm="rms",
            use_bias=False,
            gated=self.gated,
            qkv_features=self.num_heads * self.head_features,
            scale=1.0,
        )

    def embedded(self, side: str, tokens: jax.Array, positions: jax.Array, train: bool) -> jax.Array:
        """Embed tokens, without their positions."""
        return self.drop(self.shared(tokens), deterministic=not train)

    def bias(self, side: str, positions: jax.Array, key_length: int) -> jax.Array:
        """Look up the bias of each distance; the decoder's tokens see none after themselves."""
        return (self.encoder_bias if side == "encoder" else self.decoder_bias)(positions, key_length)

    def finish(self, side: str, x: jax.Array, train: bool) -> jax.Array:
        """Apply the final norm to the hidden states."""
        norm = self.encoder_norm if side == "encoder" else self.decoder_norm
        return self.drop(norm(x), deterministic=not train)

    def logits(self, x: jax.Array) -> jax.Array:
        """Compute logits by the transposed token embedding (tied weights), or by the head."""
        return self.shared.attend(x * self.width**-0.5) if self.tied else self.head(x)


_v1_1 = functools.partial(T5, gated=True, tied=False, width=512, num_heads=6, mlp_features=1024)
MODELS = {
    "t5_small": T5,
    "t5_base": functools.partial(T5, encoder_layers=12, decoder_layers=12, num_heads=12, width=768, mlp_features=3072),
    "t5_large": functools.partial(
        T5, encoder_layers=24, decoder_layers=24, num_heads=16, width=1024, mlp_features=4096
    ),
    "t5_v1_1_small": functools.partial(_v1_1, encoder_layers=8, decoder_layers=8),
    "t5_v1_1_base": functools.partial(
        _v1_1, encoder_layers=12, decoder_layers=12, num_heads=12, width=768, mlp_features=2048
    ),
}
