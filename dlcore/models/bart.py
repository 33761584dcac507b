"""BART and Marian: the transformer of 2017, post-norm, with learned or sinusoidal positions.

    x = E[tokens] + P[position + 2],  then LN                      BART: learned positions, GELU
    x = sqrt(D) E[tokens] + PE[position]                           Marian: sines, then cosines; SiLU; b on the logits
    logits = decoder(x, encoder(source)) E^T + b

Lewis et al. 2019, arXiv:1910.13461 (BART: pretrained to restore damaged text); Junczys-Dowmunt et al. 2018,
arXiv:1804.00344 (Marian: translation, published for a thousand pairs of languages). Vaswani et al. 2017,
arXiv:1706.03762, has the network; neither stack ends in a norm of its own, since a post-norm block does. One table E
embeds source and target and is the head. BART's positions begin at row 2 of their table, a habit of fairseq.

`load_torch` takes the state dict of transformers. It ignores BART's `final_logits_bias`, a constant of zeros.
"""

import functools
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.learner import Range
from dlcore.models.encoder_decoder import EncoderDecoder
from dlcore.nn.activations import gelu, relu, silu
from dlcore.nn.embed import Embed
from dlcore.nn.group_norm import LayerNorm
from dlcore.nn.position import sinusoidal_encoding
from dlcore.nn.remat import Remat, remat
from dlcore.nn.transformer import TransformerDecoderBlock, TransformerEncoderBlock

__all__ = ["BART", "MODELS"]

INPUTS = ("source", "tokens")
TORCH_NAMES = (
    (r"^(encoder|decoder)\.(\d+)\.", r"\1.layers.\2."),
    (r"^(encoder|decoder)_positions\.", r"\1.embed_positions."),
    (r"^(encoder|decoder)_norm\.", r"\1.layernorm_embedding."),
    (r"\.mlp\.", "."),
    (r"\.attn\.", ".self_attn."),
    (r"\.cross_attn\.", ".encoder_attn."),
    (r"_attn\.(q|k|v)(uery|ey|alue)\.", r"_attn.\1_proj."),
    (r"_attn\.proj\.", "_attn.out_proj."),
    (r"\.norm1\.", ".self_attn_layer_norm."),
    (r"^(encoder.*)\.norm2\.", r"\1.final_layer_norm."),
    (r"^(decoder.*)\.norm2\.", r"\1.encoder_attn_layer_norm."),
    (r"\.norm3\.", ".final_layer_norm."),
    (r"^head_bias$", "final_logits_bias"),
)
TORCH_OLD_NAMES = ((r"^model\.", ""),)
TORCH_OPTIONAL = r"^final_logits_bias$|^(encoder|decoder)\.embed_positions\.weight$"
TORCH_TIED = dict.fromkeys(
    ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"), "shared.weight"
)
OFFSET = 2
"""Rows of BART's table of positions before that of the first token."""

ACTIVATIONS = {"gelu": gelu, "relu": relu, "silu": silu}


class BART(EncoderDecoder):
    """An encoder and a decoder of post-norm blocks: (source [B, S], tokens [B, T]) -> logits [B, T, V].

    Submodules `shared` (the embedding), `encoder_0` ..., `decoder_0` ..., and by the fields `encoder_positions`,
    `encoder_norm`, `decoder_positions`, `decoder_norm`.

    Args:
      vocab_size: V, different tokens of source and target together.
      window: the most tokens of a source or a target.
      encoder_layers: blocks of the encoder.
      decoder_layers: blocks of the decoder.
      num_heads: attention heads of each block; divides the width.
      width: features of a token; even.
      activation: activation of the MLP: gelu, relu or silu.
      positions: learned, a table and then a layer norm, or sinusoidal, sines on a scaled embedding.
      head_bias: add a bias to the logits.
      pad_token: where the source has this token, nothing is seen.
      dropout: probability to drop a value of the embedding or of a branch in training.
      attention_dropout: probability to drop an attention weight in training.
      dtype: dtype of the computation; None takes the parameters'.
    """

    vocab_size: int = 50265
    window: Annotated[int, Range(1)] = 1024
    encoder_layers: Annotated[int, Range(1)] = 6
    decoder_layers: Annotated[int, Range(1)] = 6
    num_heads: Annotated[int, Range(1)] = 12
    width: Annotated[int, Range(2)] = 768
    mlp_features: Annotated[int, Range(1)] = 3072
    activation: Literal["gelu", "relu", "silu"] = "gelu"
    positions: Literal["learned", "sinusoidal"] = "learned"
    head_bias: bool = False
    pad_token: int = 1
    dropout: Annotated[float, Range(0, 1)] = 0.1
    attention_dropout: Annotated[float, Range(0, 1)] = 0.0
    dtype: Any = None
    remat: Remat = "none"

    def setup(self):
        """Build the embeddings and the blocks."""
        check_choice("activation", self.activation, ACTIVATIONS)
        check_choice("positions", self.positions, ("learned", "sinusoidal"))
        self.shared = self._table(self.vocab_size)
        if self.positions == "learned":
            self.encoder_positions, self.decoder_positions = (self._table(self.window + OFFSET) for _ in range(2))
            self.encoder_norm, self.decoder_norm = (LayerNorm(dtype=self.dtype) for _ in range(2))
        self.encoder = [self._block(TransformerEncoderBlock, 2) for _ in range(self.encoder_layers)]
        self.decoder = [self._block(TransformerDecoderBlock, 3) for _ in range(self.decoder_layers)]
        self.drop = nn.Dropout(self.dropout)
        if self.head_bias:
            self.logits_bias = self.param("head_bias", nn.initializers.zeros, (self.vocab_size,))

    @nn.nowrap
    def _table(self, rows: int) -> Embed:
        return Embed(rows, self.width, embedding_init=nn.initializers.normal(0.02), dtype=self.dtype)

    @nn.nowrap
    def _block(self, block: Any, train: int) -> Any:
        """`train`: the number of that argument of the block."""
        return remat(block, self.remat, static_argnums=(train,))(
            self.num_heads,
            self.mlp_features,
            activation=ACTIVATIONS[self.activation],
            dropout_rate=self.dropout,
            attention_dropout_rate=self.attention_dropout,
            fused_qkv=False,
            dtype=self.dtype,
            kernel_init=nn.initializers.normal(0.02),
        )

    def embedded(self, side: str, tokens: jax.Array, positions: jax.Array, train: bool) -> jax.Array:
        """Embed tokens at their positions."""
        length = tokens.shape[1]
        if length > self.window:
            raise ValueError(f"{side}: {length} tokens, shape={tokens.shape}; allowed: at most window={self.window}")
        return self.with_positions(side, self.shared(tokens), positions, train)

    def with_positions(self, side: str, x: jax.Array, positions: jax.Array, train: bool) -> jax.Array:
        """Add positions to embedded tokens: what the first block reads.

        Args:
          side: encoder or decoder.
          x: [B, T, width].
          positions: [T] or [B, T] int.

        Returns:
          [B, T, width].
        """
        if self.positions == "learned":
            table, norm = getattr(self, f"{side}_positions"), getattr(self, f"{side}_norm")
            x = norm(x + table(positions + OFFSET))  # NaN beyond the window
        else:
            encoding = sinusoidal_encoding(positions, self.width)
            encoding = jnp.concatenate([encoding[..., ::2], encoding[..., 1::2]], -1)
            x = x * self.width**0.5 + encoding.astype(x.dtype)
        return self.drop(x, deterministic=not train)

    def logits(self, x: jax.Array) -> jax.Array:
        """Compute logits by the transposed token embedding (tied weights)."""
        logits = self.shared.attend(x)
        return logits + self.logits_bias.astype(logits.dtype) if self.head_bias else logits


MODELS = {
    "bart_base": BART,
    "bart_large": functools.partial(
        BART, encoder_layers=12, decoder_layers=12, num_heads=16, width=1024, mlp_features=4096
    ),
    "marian": functools.partial(
        BART,
        vocab_size=58101,
        window=512,
        num_heads=8,
        width=512,
        mlp_features=2048,
        activation="silu",
        positions="sinusoidal",
        head_bias=True,
        pad_token=58100,
    ),
}
