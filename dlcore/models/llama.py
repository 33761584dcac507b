"""Llama: GPT with rotary positions, RMS norms, a gated perceptron and shared keys and values.

    x = E[tokens];   x = x + attention(RMSNorm(x)),  x = x + W_2 (silu(W_g n) W_1 n),  n = RMSNorm(x)
    logits = W RMSNorm(x)

Touvron et al. 2023, arXiv:2302.13971 and arXiv:2307.09288; the third generation has fewer heads of keys and values
(Ainslie et al. 2023, arXiv:2305.13245), which shortens the cache. Qwen3 (Qwen team 2025, arXiv:2505.09388) normalizes
queries and keys by head, and its heads have a size of their own. No layer has a bias. Positions turn queries and keys
(`dlcore.nn.rotary`), so the window is no table: it only limits the cache.

Relatives differ by fields: Qwen2 (arXiv:2407.10671; biases of queries, keys and values), Mistral (arXiv:2310.06825; a
sliding window), Gemma 2 and 3 (arXiv:2408.00118, arXiv:2503.19786; norms after branches, whose factor is 1 + w, scaled
embeddings, soft caps, windows in most layers), Cohere (parallel branches).

    soft cap   c tanh(x / c)
    angle of pair i at position p   t = p f_i,   f_i = period^(-2 i / D),   for a longer context f_i / factor

`load_torch` takes the state dict of transformers.
"""

import functools
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models.decoder_only import DecoderOnly
from dlcore.nn import Dense
from dlcore.nn.activations import named_activation
from dlcore.nn.embed import Embed
from dlcore.nn.group_norm import LayerNorm, RMSNorm, ZeroCenteredRMSNorm
from dlcore.nn.remat import Remat, remat
from dlcore.nn.transformer import TransformerDecoderBlock
from dlcore.ops.precision import to_acc_dtype

__all__ = ["MODELS", "Llama"]

INPUTS = ("tokens",)
TORCH_NAMES = (
    (r"^blocks\.", "layers."),
    (r"\.attn\.proj\.", ".self_attn.o_proj."),
    (r"\.attn\.([qk]_norm)\.", r".self_attn.\1."),
    (r"\.attn\.(q|k|v)(uery|ey|alue)\.", r".self_attn.\1_proj."),
    (r"\.norm1\.", ".input_layernorm."),
    (r"\.norm2\.", ".post_attention_layernorm."),
    (r"\.norm3\.", ".pre_feedforward_layernorm."),
    (r"\.norm4\.", ".post_feedforward_layernorm."),
    (r"\.mlp\.fc1\.", ".mlp.up_proj."),
    (r"\.mlp\.fc2\.", ".mlp.down_proj."),
    (r"\.mlp\.gate\.", ".mlp.gate_proj."),
    (r"^head\.", "lm_head."),
)
TORCH_OLD_NAMES = ((r"^model\.", ""),)
TORCH_IGNORED = r"rotary_emb\.inv_freq$"
NORMS: dict[str, Any] = {
    "rms": RMSNorm,
    "zero_centered_rms": ZeroCenteredRMSNorm,
    "unbiased_layer": functools.partial(LayerNorm, use_bias=False),
}
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
      activation: activation of the perceptron's gate, by transformers' name.
      biased_qkv: add biases to queries, keys and values.
      norm_kind: rms; zero_centered_rms, whose factor is 1 + scale; or unbiased_layer.
      sandwich: normalize what a branch gives, too, before it is added.
      parallel: one norm for both branches, which are added together.
      embed_scale: factor of the tokens' embeddings.
      attention_scale: factor of the attention's scores; None for 1 / sqrt(features of a head).
      attention_softcap: soft cap of the attention's scores; None for none.
      logits_softcap: soft cap of the logits; None for none.
      logits_scale: factor of the logits.
      layer_types: sliding_attention or full_attention for each block; empty: all are full.
      sliding_window: tokens that a token of a sliding block sees, itself included.
      sliding_period: period of the rotary positions of sliding blocks; None for `period`.
      rotate_full: full blocks have rotary positions; without them they see no position.
      rotary_pairs: channels that turn together, halves or neighbors.
      rope_factor: by how much the frequencies of `period` are divided, for a longer context.
      rope_llama3: (low factor, high factor, old context): wavelengths below old / high keep their frequency, those
        above old / low divide it, and those between take a mean of both (Llama 3.1); empty: all divide it.
      mrope_sections: pairs of a head that turn by time, row and column; empty: one position turns all (Qwen2-VL,
        arXiv:2409.12191).
      mrope_interleaved: the sections alternate, in place of following one another (Qwen3-VL).
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
    activation: Annotated[str, "if changed"] = "silu"
    biased_qkv: Annotated[bool, "if changed"] = False
    norm_kind: Annotated[Literal["rms", "zero_centered_rms", "unbiased_layer"], "if changed"] = "rms"
    sandwich: Annotated[bool, "if changed"] = False
    parallel: Annotated[bool, "if changed"] = False
    embed_scale: Annotated[float, "if changed"] = 1.0
    attention_scale: Annotated[float | None, "if changed"] = None
    attention_softcap: Annotated[float | None, "if changed"] = None
    logits_softcap: Annotated[float | None, "if changed"] = None
    logits_scale: Annotated[float, "if changed"] = 1.0
    layer_types: Annotated[tuple[str, ...], "if changed"] = ()
    sliding_window: Annotated[int | None, Range(1), "if changed"] = None
    sliding_period: Annotated[float | None, "if changed"] = None
    rotate_full: Annotated[bool, "if changed"] = True
    rotary_pairs: Annotated[Literal["halves", "neighbors"], "if changed"] = "halves"
    rope_factor: Annotated[float, "if changed"] = 1.0
    rope_llama3: Annotated[tuple[float, ...], "if changed"] = ()
    mrope_sections: Annotated[tuple[int, ...], "if changed"] = ()
    mrope_interleaved: Annotated[bool, "if changed"] = False
    dropout: Annotated[float, Range(0, 1)] = 0.0
    epsilon: float = 1e-5
    dtype: Any = None
    remat: Remat = "none"

    def setup(self):
        """Build the embedding, the blocks, the last norm and the head."""
        init = nn.initializers.normal(0.02)
        self.embed_tokens = Embed(self.vocab_size, self.width, embedding_init=init, dtype=self.dtype)
        block = remat(TransformerDecoderBlock, self.remat, static_argnums=(3, 8))
        self.blocks = [self._block(block, i, name=f"blocks_{i}") for i in range(self.num_layers)]
        self.norm = NORMS[self.norm_kind](self.epsilon, dtype=self.dtype)
        if not self.tied:
            self.head = Dense(self.vocab_size, False, dtype=self.dtype, kernel_init=init)

    @nn.nowrap
    def _is_sliding(self, layer: int) -> bool:
        return bool(self.layer_types) and self.layer_types[layer] == "sliding_attention"

    @nn.nowrap
    def _period(self, layer: int) -> float | None:
        if self._is_sliding(layer):
            return self.sliding_period or self.period
        return self.period if self.rotate_full else None

    @nn.nowrap
    def _block(self, block: Any = TransformerDecoderBlock, layer: int = 0, **kwargs: Any) -> Any:
        return block(
            self.num_heads,
            self.mlp_features,
            cross=False,
            pre_norm=True,
            activation=named_activation(self.activation),
            dropout_rate=self.dropout,
            attention_dropout_rate=self.dropout,
            epsilon=self.epsilon,
            fused_qkv=False,
            dtype=self.dtype,
            kernel_init=nn.initializers.normal(0.02),
            out_kernel_init=nn.initializers.normal(0.02 / (2 * self.num_layers) ** 0.5),
            norm=self.norm_kind,
            use_bias=False,
            gated=True,
            num_kv_heads=self.num_kv_heads,
            qkv_features=None if self.head_features is None else self.num_heads * self.head_features,
            qk_norm=self.epsilon if self.qk_norm else None,
            rotary=self._period(layer),
            rotary_pairs=self.rotary_pairs,
            scale=self.attention_scale,
            biased_qkv=self.biased_qkv,
            softcap=self.attention_softcap,
            window=self.sliding_window if self._is_sliding(layer) else None,
            sandwich=self.sandwich,
            parallel=self.parallel,
            **(kwargs or {"parent": None}),
        )

    def embedded(self, tokens: jax.Array, position: jax.Array, train: bool) -> jax.Array:
        """Embed tokens, without their positions."""
        x = self.embed_tokens(tokens)
        return x if self.embed_scale == 1 else x * jnp.asarray(self.embed_scale, x.dtype)

    def logits(self, x: jax.Array) -> jax.Array:
        """Apply the head."""
        logits = self.embed_tokens.attend(x) if self.tied else self.head(x)
        logits = logits if self.logits_scale == 1 else logits * self.logits_scale
        if self.logits_softcap is None:
            return logits
        return self.logits_softcap * jnp.tanh(to_acc_dtype(logits) / self.logits_softcap)

    @nn.nowrap
    def _angles(self, layer: int, positions: jax.Array, are_given: bool) -> jax.Array | None:
        period = self._period(layer)
        is_scaled = self.rope_factor != 1 and not (self._is_sliding(layer) and self.sliding_period is not None)
        if period is None or not (are_given or is_scaled):
            return None
        features = self.head_features or self.width // self.num_heads
        frequencies = period ** (-np.arange(0, features, 2) / features)
        if is_scaled:
            slow = np.ones_like(frequencies)  # fraction of the division
            if self.rope_llama3:
                low, high, context = self.rope_llama3
                slow = 1 - np.clip((context * frequencies / (2 * np.pi) - low) / (high - low), 0, 1)
            frequencies = slow * frequencies / self.rope_factor + (1 - slow) * frequencies
        if positions.ndim == 3:  # [3, B, T]: each pair turns by its own axis
            axis = np.repeat(np.arange(3), self.mrope_sections)
            if self.mrope_interleaved:
                pair = np.arange(len(frequencies))
                axis = np.where(pair < 3 * np.asarray(self.mrope_sections)[pair % 3], pair % 3, 0)
            positions = jnp.moveaxis(positions[axis], 0, -1)  # [B, T, pairs]
        else:
            positions = positions[..., None]
        return (positions.astype(jnp.float32) * jnp.asarray(frequencies, jnp.float32))[..., None, :]


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
