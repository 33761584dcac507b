"""Pieces of transformers of image and text in two streams, which attend jointly (MMDiT, Flux).

Esser et al. 2024, arXiv:2403.03206, in the form of the diffusers library, whose weights they take.

    c = MLP(waves of t) + MLP(pooled text) (+ MLP(waves of the guidance))
    q, k, v = W_s ((1 + scale) LN(s) + shift)                  of each stream s, with weights of its own
    [text, image] = softmax(q k^T / sqrt(D)) v                 joint attention: q, k and v of both, one after another
    s = s + gate W'_s attention,  s = s + gate MLP_s((1 + scale) LN(s) + shift)   scales, shifts, gates: W''_s silu(c)

Scales, shifts and gates start at zero, so that a block starts as the identity.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.generative.dit import WAVES, modulate
from dlcore.generative.unet import TimestepEmbedding, timestep_embedding
from dlcore.nn import Dense
from dlcore.nn.attention import dot_product_attention
from dlcore.nn.group_norm import LayerNorm, RMSNorm
from dlcore.nn.rotary import rotate_pairs
from dlcore.nn.transformer import FeedForward

__all__ = ["JointAttention", "Modulation", "PooledConditioning", "TwoStreamBlock", "plain_norm"]

EPSILON = 1e-6


def plain_norm(x: jax.Array, dtype: Any = None) -> jax.Array:
    """Layer norm without scale and bias, inside a compact module.

    Args:
      x: [..., D].

    Returns:
      [..., D].
    """
    return LayerNorm(epsilon=EPSILON, use_bias=False, use_scale=False, dtype=dtype)(x)


class Modulation(nn.Module):
    """Vectors of scales, shifts and gates from the condition; they start at zero.

    Args:
      count: number of vectors.
      width: D, features of a vector.
    """

    count: int
    width: int
    dtype: Any = None

    @nn.compact
    def __call__(self, c: jax.Array) -> list[jax.Array]:
        """Compute the vectors: [B, E], the condition -> count arrays [B, D]."""
        dense = Dense(self.count * self.width, kernel_init=nn.initializers.zeros, dtype=self.dtype, name="linear")
        return jnp.split(dense(nn.silu(c)), self.count, -1)


class PooledConditioning(nn.Module):
    """The embedding of timestep, pooled text and guidance.

    Args:
      width: E, features of the embedding.
    """

    width: int
    dtype: Any = None

    @nn.compact
    def __call__(self, t: jax.Array, pooled: jax.Array, guidance: jax.Array | None = None) -> jax.Array:
        """Embed the conditions.

        t [B], timesteps, 0 to 1000; pooled [B, P], one vector for a text; guidance [B], scales of guidance, times 1000
        (None embeds none) -> [B, E].
        """

        def sinusoidal_embedding(values: jax.Array, name: str) -> jax.Array:
            sinusoidal = timestep_embedding(values, WAVES, cosine_first=True)
            return TimestepEmbedding(self.width, dtype=self.dtype, name=name)(sinusoidal.astype(self.dtype))

        c = sinusoidal_embedding(t, "timestep_embedder")
        if guidance is not None:
            c += sinusoidal_embedding(guidance, "guidance_embedder")
        return c + TimestepEmbedding(self.width, dtype=self.dtype, name="text_embedder")(pooled)


class JointAttention(nn.Module):
    """Attention over the tokens of one or two streams with weights of their own.

    Args:
      num_heads: divides D.
      norm_keys: root-mean-square norm of each head's queries and keys.
      project_x: a last layer on the first stream.
      project_context: a last layer on the second stream; False returns no second stream.
    """

    num_heads: int
    norm_keys: bool = False
    project_x: bool = True
    project_context: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(
        self, x: jax.Array, context: jax.Array | None = None, angles: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array | None]:
        """Attend from all tokens to all.

        x [B, N, D], the image; context [B, T, D], the text (None: one stream); angles [T + N, 1, D / heads / 2], rotary
        angles, the text's first (None: none) -> ([B, N, D], [B, T, D] or None).
        """
        width = x.shape[-1]
        if width % self.num_heads:
            raise ValueError(f"num_heads={self.num_heads}: not a divisor; allowed: divisors of the {width} features")

        def dense(name: str, tokens: jax.Array) -> jax.Array:
            return Dense(width, dtype=self.dtype, name=name)(tokens)

        def project(tokens: jax.Array, name: str, norm: str) -> list[jax.Array]:
            heads = [dense(name.format(k), tokens) for k in "qkv"]
            heads = [head.reshape(*head.shape[:-1], self.num_heads, -1) for head in heads]  # [B, N, H, D / H]
            if not self.norm_keys:
                return heads
            normed = [
                RMSNorm(epsilon=EPSILON, dtype=self.dtype, name=norm.format(k))(head)
                for k, head in zip("qk", heads[:2], strict=True)
            ]
            return [*normed, heads[2]]

        query, key, value = project(x, "to_{}", "norm_{}")
        length = 0 if context is None else context.shape[1]
        if context is not None:
            added = project(context, "add_{}_proj", "norm_added_{}")
            query, key, value = (
                jnp.concatenate(pair, 1) for pair in zip(added, (query, key, value), strict=True)
            )  # [B, T + N, H, D / H]
        if angles is not None:
            query, key = (rotate_pairs(heads, angles, "neighbors") for heads in (query, key))
        y = dot_product_attention(query, key, value).reshape(x.shape[0], -1, width)
        x = dense("to_out_0", y[:, length:]) if self.project_x else y[:, length:]
        if context is None or not self.project_context:
            return x, None
        return x, dense("to_add_out", y[:, :length])


class TwoStreamBlock(nn.Module):
    """Joint attention and a perceptron for each stream, each between a modulated norm and a gate.

    Args:
      num_heads: divides D.
      norm_keys: root-mean-square norm of each head's queries and keys.
      is_last: leave the text as it is after attention, since no block follows; it has one scale and one shift.
      dual_attention: a second attention of the image to itself, with a shift, a scale and a gate of its own (MMDiT-X).
    """

    num_heads: int
    norm_keys: bool = False
    is_last: bool = False
    dual_attention: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(
        self, x: jax.Array, context: jax.Array, c: jax.Array, angles: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Transform both streams.

        x [B, N, D], the image; context [B, T, D], the text; c [B, E], the condition; angles see `JointAttention` ->
        ([B, N, D], [B, T, D]).
        """
        width = x.shape[-1]
        vectors = Modulation(9 if self.dual_attention else 6, width, self.dtype, name="norm1")(c)
        text_vectors = Modulation(2 if self.is_last else 6, width, self.dtype, name="norm1_context")(c)
        # The last block has the scale of the text before the shift.
        shift, scale = text_vectors[1::-1] if self.is_last else text_vectors[:2]
        attend = JointAttention(self.num_heads, self.norm_keys, True, not self.is_last, self.dtype, name="attn")
        normed = plain_norm(x, self.dtype)
        y, text = attend(
            modulate(normed, *vectors[:2]),
            modulate(plain_norm(context, self.dtype), shift, scale),
            angles,
        )

        def add(stream: jax.Array, attention: jax.Array, vectors: list[jax.Array], name: str) -> jax.Array:
            _, _, gate1, shift, scale, gate2 = vectors[:6]
            stream += gate1[:, None] * attention
            mlp = FeedForward(4 * width, nn.gelu, dtype=self.dtype, name=name)
            return stream + gate2[:, None] * mlp(modulate(plain_norm(stream, self.dtype), shift, scale))

        if self.dual_attention:
            *modulation, gate = vectors[6:]
            second = JointAttention(self.num_heads, self.norm_keys, dtype=self.dtype, name="attn2")
            x += gate[:, None] * second(modulate(normed, *modulation))[0]
        x = add(x, y, vectors, "ff")
        return x, context if text is None else add(context, text, text_vectors, "ff_context")
