"""BERT: a transformer encoder that reads a text in both directions and fills in masked tokens.

    x = LN(E[tokens] + P[position] + S[segment]);  x = block(x) for each block (post-norm, every token sees every token)
    masked tokens   logits = LN(gelu(W x)) E^T + b
    pooled          tanh(W x_0), of the first token: a vector of the text

Devlin et al. 2018, arXiv:1810.04805. It embeds a text in one call and generates none. `features` returns the tokens'
vectors, for a head of your own. Kernels and embeddings start as N(0, 0.02^2), so the first loss is about log V.

RoBERTa (Liu et al. 2019, arXiv:1907.11692; multilingual: XLM-R, arXiv:1911.02116) is the same network, whose positions
count the tokens that are not padding, from `pad_token` + 1; DistilBERT (Sanh et al. 2019, arXiv:1910.01108) has half
the blocks, no segments and no pooled vector.

`load_torch` takes the state dict of transformers, with or without the prefix `bert.`, and of its heads the one that the
field `head` names; also that of RoBERTa and of DistilBERT.
"""

import functools
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.learner import Range
from dlcore.models.fields import CheckedFields
from dlcore.models.torch_weights import Layout
from dlcore.nn import Dense
from dlcore.nn.activations import named_activation
from dlcore.nn.embed import Embed
from dlcore.nn.group_norm import LayerNorm
from dlcore.nn.remat import Remat, remat
from dlcore.nn.transformer import TransformerEncoderBlock
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype

__all__ = ["BERT", "MODELS"]

INPUTS = ("tokens",)
TORCH_NAMES = (
    (r"^(word|position|token_type)_embeddings\.", r"embeddings.\1_embeddings."),
    (r"^embeddings_norm\.", "embeddings.LayerNorm."),
    (r"^blocks\.", "encoder.layer."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.attn\.", ".attention.self."),
    (r"\.norm1\.", ".attention.output.LayerNorm."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
    (r"\.norm2\.", ".output.LayerNorm."),
    (r"^pooler\.", "pooler.dense."),
    (r"^transform\.", "cls.predictions.transform.dense."),
    (r"^transform_norm\.", "cls.predictions.transform.LayerNorm."),
    (r"^head_bias$", "cls.predictions.bias"),
)
TORCH_OLD_NAMES = (
    (r"^(bert|roberta)\.", ""),
    (r"LayerNorm\.gamma$", "LayerNorm.weight"),
    (r"LayerNorm\.beta$", "LayerNorm.bias"),
)
TORCH_IGNORED = r"embeddings\.position_ids$"
TORCH_OPTIONAL = r"^(pooler|cls)\."
TORCH_LAYOUTS = (
    Layout(  # RobertaForMaskedLM
        r"^lm_head\.",
        names=(
            *TORCH_NAMES,
            (r"^cls\.predictions\.transform\.dense\.", "lm_head.dense."),
            (r"^cls\.predictions\.transform\.LayerNorm\.", "lm_head.layer_norm."),
            (r"^cls\.predictions\.bias$", "lm_head.bias"),
        ),
        older=TORCH_OLD_NAMES,
        ignored=TORCH_IGNORED,
        optional=r"^(pooler|lm_head)\.",
    ),
    Layout(  # DistilBertModel, DistilBertForMaskedLM
        r"^transformer\.layer\.",
        names=(
            (r"^blocks\.", "transformer.layer."),
            (r"\.attn\.(query|key|value)\.", lambda m: f".attention.{m[1][0]}_lin."),
            (r"\.attn\.proj\.", ".attention.out_lin."),
            (r"\.norm1\.", ".sa_layer_norm."),
            (r"\.mlp\.fc(\d)\.", r".ffn.lin\1."),
            (r"\.norm2\.", ".output_layer_norm."),
            (r"^transform\.", "vocab_transform."),
            (r"^transform_norm\.", "vocab_layer_norm."),
            (r"^head_bias$", "vocab_projector.bias"),
            *TORCH_NAMES,
        ),
        older=((r"^distilbert\.", ""), *TORCH_OLD_NAMES),
        ignored=TORCH_IGNORED,
        optional=r"^vocab_",
    ),
)
TORCH_TIED = {
    "cls.predictions.decoder.weight": "embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
    "lm_head.decoder.weight": "embeddings.word_embeddings.weight",
    "lm_head.decoder.bias": "lm_head.bias",
    "vocab_projector.weight": "embeddings.word_embeddings.weight",
}


class BERT(CheckedFields):
    """An encoder of texts: tokens [B, T] -> logits [B, T, V] of each token, or a vector [B, width] of the text.

    Args:
      vocab_size: V, different tokens.
      window: the most tokens that it reads.
      num_layers: blocks.
      num_heads: attention heads of each block; divides the width.
      width: features of a token.
      num_segments: kinds of segments, such as a question and a text; 0: it reads none.
      hidden_act: activation of the MLPs and of the head of tokens, by transformers' name, such as gelu or relu.
      head: what a call gives: tokens, logits of each token, pooled, a vector of the text, or none, the tokens' vectors.
      dropout: probability to drop a value of the embedding, of a branch or an attention weight in training.
      dtype: dtype of the computation; None takes the parameters'.
      pad_token: token of padding, which positions do not count; they start behind its number. None: they count all
        tokens from 0.
    """

    vocab_size: int
    window: Annotated[int, Range(1)]
    num_layers: Annotated[int, Range(1)] = 12
    num_heads: Annotated[int, Range(1)] = 12
    width: Annotated[int, Range(1)] = 768
    mlp_features: Annotated[int, Range(1)] = 3072
    num_segments: Annotated[int, Range(0)] = 2
    head: Literal["tokens", "pooled", "none"] = "tokens"
    dropout: Annotated[float, Range(0, 1)] = 0.1
    epsilon: float = 1e-12
    hidden_act: str = "gelu"
    dtype: Any = None
    remat: Remat = "none"
    pad_token: Annotated[int | None, "if changed"] = None

    def setup(self):
        """Build the embeddings, the blocks and the head."""
        check_choice("head", self.head, ("tokens", "pooled", "none"))
        self.activate = named_activation(self.hidden_act, "hidden_act")
        init = nn.initializers.normal(0.02)

        def embed(size: int) -> Embed:
            return Embed(size, self.width, embedding_init=init, dtype=self.dtype)

        self.word_embeddings = embed(self.vocab_size)
        self.position_embeddings = embed(self.window if self.pad_token is None else self.window + self.pad_token + 1)
        if self.num_segments:
            self.token_type_embeddings = embed(self.num_segments)
        self.embeddings_norm = LayerNorm(self.epsilon, dtype=self.dtype)
        self.drop = nn.Dropout(self.dropout)
        block = remat(TransformerEncoderBlock, self.remat, static_argnums=(2,))
        self.blocks = [
            block(
                self.num_heads,
                self.mlp_features,
                activation=self.activate,
                dropout_rate=self.dropout,
                attention_dropout_rate=self.dropout,
                epsilon=self.epsilon,
                fused_qkv=False,
                dtype=self.dtype,
                kernel_init=init,
            )
            for _ in range(self.num_layers)
        ]
        if self.head == "pooled":
            self.pooler = Dense(self.width, dtype=self.dtype, kernel_init=init)
        elif self.head == "tokens":
            self.transform = Dense(self.width, dtype=self.dtype, kernel_init=init)
            self.transform_norm = LayerNorm(self.epsilon, dtype=self.dtype)
            self.head_bias = self.param("head_bias", nn.initializers.zeros, (self.vocab_size,))

    def features(
        self,
        tokens: jax.Array,
        train: bool = False,
        mask: jax.Array | None = None,
        segments: jax.Array | None = None,
        positions: jax.Array | None = None,
    ) -> jax.Array:
        """Embed every token in its text.

        Args:
          tokens: [B, T] int, T at most the window.
          mask: [B, T] bool, True where there is a token and not padding, or [B, T, T], where one may attend to another;
            None: everywhere.
          segments: [B, T] int, the segment of each token; None: all are in the first.
          positions: [B, T] int, less than the window; None: 0, 1, ...

        Returns:
          [B, T, width], of the last block.
        """
        check_shapes(
            tokens=(tokens, "int B T"), segments=(segments, "int B T or None"), positions=(positions, "int B T or None")
        )
        if mask is None or mask.ndim == 2:
            check_shapes(tokens=(tokens, "int B T"), mask=(mask, "B T or None"))
        length = tokens.shape[1]
        if length > self.window:
            raise ValueError(f"tokens.shape={tokens.shape}: {length} tokens; allowed: at most window={self.window}")
        x = self.word_embeddings(tokens)
        if self.num_segments:
            x = x + self.token_type_embeddings(jnp.zeros_like(tokens) if segments is None else segments)
        positions = jnp.arange(length) if positions is None else positions
        if self.pad_token is not None:
            is_token = tokens != self.pad_token
            positions = is_token.cumsum(1) * is_token + self.pad_token
        x = self.drop(self.embeddings_norm(x + self.position_embeddings(positions)), deterministic=not train)
        if mask is not None:
            mask = mask.astype(bool)[:, None, None] if mask.ndim == 2 else mask[:, None]
        for block in self.blocks:
            x = block(x, train, mask)
        return x

    def __call__(
        self, tokens: jax.Array, train: bool = False, mask: jax.Array | None = None, segments: jax.Array | None = None
    ) -> jax.Array:
        """Predict every token, or embed the text.

        Args:
          tokens: [B, T] int, T at most the window.
          mask: [B, T] bool, True where there is a token and not padding; None: everywhere.
          segments: [B, T] int, the segment of each token; None: all are in the first.

        Returns:
          [B, T, V] logits, at least float32; with head="pooled" [B, width], with "none" [B, T, width].
        """
        x = self.features(tokens, train, mask, segments)
        if self.head == "none":
            return x
        if self.head == "pooled":
            return jnp.tanh(self.pooler(x[:, 0]))
        logits = self.word_embeddings.attend(self.transform_norm(self.activate(self.transform(x))))
        return to_acc_dtype(logits) + self.head_bias


_published = functools.partial(BERT, vocab_size=30522, window=512)
MODELS = {
    "bert_base": _published,
    "bert_large": functools.partial(_published, num_layers=24, num_heads=16, width=1024, mlp_features=4096),
}
