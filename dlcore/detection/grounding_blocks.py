"""Blocks of Grounding DINO: phrases of a text, attention of image and text to each other, and a decoder's layer.

Liu et al. 2023, arXiv:2303.05499.

    fusion    v' = LN(v) + g_v W MHA(LN(v), LN(t)),   t' = LN(t) + g_t W' MHA(LN(t), LN(v)), of the same scores
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.nn import DeformableAttention, Dense, FeedForward, LayerNorm, MultiHeadAttention, dot_product_attention
from dlcore.nn.deformable_encoder import Shapes

__all__ = ["FusionLayer", "GroundedDecoderLayer", "phrase_masks"]

MARKS = np.array([101, 102, 1012, 1029])
"""BERT's [CLS], [SEP], "." and "?", which end a phrase."""


def phrase_masks(tokens: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Tell the phrases of a text apart, each with the mark that ends it.

    Args:
      tokens: [B, T] int, of BERT.

    Returns:
      ([B, T, T] bool, True between tokens of one phrase, and of a token and itself; [B, T] int, the token's index in
      its phrase, 0 behind the last mark).
    """
    length = tokens.shape[1]
    index = jnp.arange(length)
    is_mark = jnp.isin(tokens, MARKS)
    before = jax.lax.cummax(jnp.where(is_mark, index, -1), axis=1)
    before = jnp.pad(before[:, :-1], ((0, 0), (1, 0)), constant_values=-1)  # the mark before each token
    end = jax.lax.cummin(jnp.where(is_mark, index, length), axis=1, reverse=True)
    valid = (end > 0) & (end < length - 1)
    same = (end[:, :, None] == end[:, None]) & valid[:, None]
    return same | jnp.eye(length, dtype=bool), jnp.where(valid, index - before - 1, 0)


class FusionLayer(nn.Module):
    """Attention of image and text to each other: [B, N, D], [B, T, D] -> the same.

    Args:
      num_heads: number of heads.
      qkv_features: features of all heads together.
    """

    num_heads: int
    qkv_features: int
    dtype: Any = None

    @nn.compact
    def __call__(
        self, image: jax.Array, text: jax.Array, image_mask: jax.Array | None, text_mask: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Apply the layer.

        Args:
          image: [B, N, D].
          text: [B, T, D].
          image_mask: [B, N] bool, False for padding; None: none.
          text_mask: [B, T] bool, False for padding.

        Returns:
          ([B, N, D], [B, T, D]).
        """
        image = LayerNorm(dtype=self.dtype, name="layer_norm_vision")(image)
        text = LayerNorm(dtype=self.dtype, name="layer_norm_text")(text)

        def by_head(x: jax.Array, name: str) -> jax.Array:
            x = Dense(self.qkv_features, dtype=self.dtype, name=f"attn_{name}_proj")(x)
            return x.reshape(*x.shape[:-1], self.num_heads, -1)

        def add(x: jax.Array, y: jax.Array, name: str) -> jax.Array:
            y = Dense(x.shape[-1], dtype=self.dtype, name=f"attn_out_{name}_proj")(y.reshape(*y.shape[:2], -1))
            return x + y * self.param(f"{name}_param", nn.initializers.constant(1e-4), x.shape[-1:]).astype(y.dtype)

        q, k = by_head(image, "vision"), by_head(text, "text")
        image_values, text_values = by_head(image, "values_vision"), by_head(text, "values_text")
        image_mask = None if image_mask is None else image_mask[:, None, None]
        of_image = dot_product_attention(q, k, text_values, mask=text_mask[:, None, None])
        of_text = dot_product_attention(k, q, image_values, mask=image_mask)
        return add(image, of_image, "vision"), add(text, of_text, "text")


class GroundedDecoderLayer(nn.Module):
    """Layer of a decoder on queries, which attend to each other, to a text and to an image: [B, Q, D] -> [B, Q, D].

    Args:
      num_heads: number of heads of each attention.
      hidden_features: units of the perceptron.
      num_points: points of each head on each level.
      dropout_rate: dropout rate in training.
    """

    num_heads: int
    hidden_features: int
    num_points: int = 4
    dropout_rate: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(
        self,
        queries: jax.Array,
        position: jax.Array,
        reference: jax.Array,
        memory: jax.Array,
        shapes: Shapes,
        text: jax.Array,
        memory_mask: jax.Array | None,
        text_mask: jax.Array,
        train: bool = False,
    ) -> jax.Array:
        """Apply the layer.

        Args:
          queries: [B, Q, D].
          position: [B, Q, D], added to what asks and to the keys of the self-attention.
          reference: [B, Q, levels, 4].
          memory: [B, N, D], the maps row by row, one level after the other.
          shapes: (rows, columns) of each level.
          text: [B, T, D].
          memory_mask: [B, N] bool, False for padding; None for none.
          text_mask: [B, T] bool, False for padding.

        Returns:
          [B, Q, D].
        """

        def add(x: jax.Array, y: jax.Array, name: str) -> jax.Array:
            y = nn.Dropout(self.dropout_rate)(y, deterministic=not train)
            return LayerNorm(dtype=self.dtype, name=f"{name}_layer_norm")(x + y)

        attention, words = (
            MultiHeadAttention(self.num_heads, dtype=self.dtype, name=name)
            for name in ("self_attn", "encoder_attn_text")
        )
        z = queries + position
        z = add(queries, attention(z, z, queries, train=train), "self_attn")
        z = add(z, words(z + position, text, mask=text_mask[:, None, None], train=train), "encoder_attn_text")
        look = DeformableAttention(self.num_heads, self.num_points, dtype=self.dtype, name="encoder_attn")
        z = add(z, look(z + position, reference, memory, shapes, memory_mask), "encoder_attn")
        mlp = FeedForward(self.hidden_features, dropout_rate=self.dropout_rate, dtype=self.dtype, name="mlp")
        return LayerNorm(dtype=self.dtype, name="final_layer_norm")(z + mlp(z, train))
