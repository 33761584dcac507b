"""Llama: GPT with rotary positions, RMS norms, a gated perceptron and shared keys and values.

    x = E[tokens];   x = x + attention(RMSNorm(x)),  x = x + W_2 (silu(W_g n) W_1 n),  n = RMSNorm(x)
    logits = W RMSNorm(x)

Touvron et al. 2023, arXiv:2302.13971 and arXiv:2307.09288; the third generation has fewer heads of keys and values
(Ainslie et al. 2023, arXiv:2305.13245), which shortens the cache. Qwen3 (Qwen team 2025, arXiv:2505.09388) normalizes
queries and keys by head, and its heads have a size of their own. No layer has a bias. Positions turn queries and keys
(`dlcore.nn.rotary`), so the window is no table: it only limits the cache.

`load_torch` takes the state dict of transformers.
"""

import functools
from typing import Annotated, Any

import jax
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models.decoder_only import DecoderOnly
from dlcore.nn import Dense
from dlcore.nn.activations import silu
from dlcore.nn.embed import Embed
from dlcore.nn.group_norm import RMSNorm
from dlcore.nn.remat import Remat, remat
from dlcore.nn.transformer import TransformerDecoderBlock

__all__ = ["MODELS", "Llama"]

INPUTS = ("tokens",)
TORCH_NAMES = (
    (r"^blocks\.", "layers."),
    (r"\.attn\.proj\.", ".self_attn.o_proj."),
    (r"\.attn\.([qk]_norm)\.", r".self_attn.\1."),
    (r"\.attn\.(q|k|v)(uery|ey|alue)\.", r".self_attn.\1_proj."),
    (r"\.norm1\.", ".input_layernorm."),
    (r"\.norm2\.", ".post_attention_layernorm."),
    (r"\.mlp\.fc1\.", ".mlp.up_proj."),
    (r"\.mlp\.fc2\.", ".mlp.down_proj."),
    (r"\.mlp\.gate\.", ".mlp.gate_proj."),
    (r"^head\.", "lm_head."),
)
TORCH_OLD_NAMES = ((r"^model\.", ""),)
TORCH_IGNORED = r"rotary_emb\.inv_freq$"
TORCH_TIED = {"lm_head.weight": "embed_tokens.weight"}


class Llama(DecoderOnly):
    """A language model: tokens [B, T] -> logits [B, T, V] of the token after each.

    Args:
      vocab_size: V, different tokens.
      window: the most tokens that it reads, prompt and continuation together.
      num_layers: blocks.
      num_heads: attention heads of each block; divides the width.
      num_kv_heads: heads of keys and values, a divisor of the heads.
      width: features of a token.
      mlp_features: hidden units of a block's perceptron.
      head_features: features of a head; None for the width by the number of heads.
      qk_norm: normalize queries and keys of each head (RMS norm).
      period: period of the rotary positions.
      tied: the embedding is the head.
      dropout: probability to drop a value of a branch in training.
      epsilon: epsilon of the norms.
      dtype: dtype of the computation; None takes the parameters'.
    """

    vocab_size: int = 32000
    window: Annotated[int, Range(1)] = 4096
    num_layers: Annotated[int, Range(1)] = 32
    num_heads: Annotated[int, Range(1)] = 32
    num_kv_heads: Annotated[int, Range(1)] = 32
    width: Annotated[int, Range(1)] = 4096
    mlp_features: Annotated[int, Range(1)] = 11008
    head_features: Annotated[int | None, Range(1), "if changed"] = None
    qk_norm: Annotated[bool, "if changed"] = False
    period: float = 10_000.0
    tied: bool = False
    dropout: Annotated[float, Range(0, 1)] = 0.0
    epsilon: float = 1e-5
    dtype: Any = None
    remat: Remat = "none"

    def setup(self):
        """Build the embedding, the blocks, the last norm and the head."""
        init = nn.initializers.normal(0.02)
        self.embed_tokens = Embed(self.vocab_size, self.width, embedding_init=init, dtype=self.dtype)
        block = remat(TransformerDecoderBlock, self.remat, static_argnums=(3, 8))
        self.blocks = [self._block(block, name=f"blocks_{i}") for i in range(self.num_layers)]
        self.norm = RMSNorm(self.epsilon, dtype=self.dtype)
        if not self.tied:
            self.head = Dense(self.vocab_size, False, dtype=self.dtype, kernel_init=init)

    @nn.nowrap
    def _block(self, block: Any = TransformerDecoderBlock, **kwargs: Any) -> Any:
        return block(
            self.num_heads,
            self.mlp_features,
            cross=False,
            pre_norm=True,
            activation=silu,
            dropout_rate=self.dropout,
            attention_dropout_rate=self.dropout,
            epsilon=self.epsilon,
            fused_qkv=False,
            dtype=self.dtype,
            kernel_init=nn.initializers.normal(0.02),
            out_kernel_init=nn.initializers.normal(0.02 / (2 * self.num_layers) ** 0.5),
            norm="rms",
            use_bias=False,
            gated=True,
            num_kv_heads=self.num_kv_heads,
            qkv_features=None if self.head_features is None else self.num_heads * self.head_features,
            qk_norm=self.epsilon if self.qk_norm else None,
            rotary=self.period,
            **(kwargs or {"parent": None}),
        )

    def embedded(self, tokens: jax.Array, position: jax.Array, train: bool) -> jax.Array:
        """Embed tokens, without their positions."""
        return self.embed_tokens(tokens)

    def logits(self, x: jax.Array) -> jax.Array:
        """Apply the head."""
        return self.embed_tokens.attend(x) if self.tied else self.head(x)


MODELS = {
    "llama2_7b": Llama,
    "llama2_13b": functools.partial(
        Llama, num_layers=40, num_heads=40, num_kv_heads=40, width=5120, mlp_features=13824
    ),
    "llama3_8b": functools.partial(
        Llama, vocab_size=128256, window=8192, num_kv_heads=8, mlp_features=14336, period=500_000.0
    ),
    "qwen3_0_6b": functools.partial(
        Llama,
        vocab_size=151936,
        window=40960,
        num_layers=28,
        num_heads=16,
        num_kv_heads=8,
        head_features=128,
        qk_norm=True,
        width=1024,
        mlp_features=3072,
        period=1_000_000.0,
        tied=True,
        epsilon=1e-6,
    ),
}
