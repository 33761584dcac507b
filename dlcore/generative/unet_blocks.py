"""Blocks of the U-Net of latent diffusion: residual, of attention, and transformers over the positions of a map.

Rombach et al. 2022, arXiv:2112.10752, in the form of the diffusers library, whose weights they take.

    residual        x + conv(silu(norm(conv(silu(norm(x))) + W silu(e(t)))))
    attention       x + W_o attend(norm(x)): every position to every other
    transformer     on the positions as tokens h: h + self(LN h), h + cross(LN h, context), h + gated perceptron(LN h)
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.nn import Conv, Dense, GroupNorm
from dlcore.nn.activations import gelu
from dlcore.nn.attention import dot_product_attention
from dlcore.nn.group_norm import LayerNorm

__all__ = ["AttentionBlock", "CrossAttention", "Resample", "ResnetBlock", "SpatialTransformer"]

Resample = Literal["none", "down", "up"]
_ZEROS = nn.initializers.zeros


class ResnetBlock(nn.Module):
    """Two 3x3 convolutions around an embedding; at the start it is its skip connection alone.

    Args:
      features: output channels.
      groups: groups of the norms.
      epsilon: epsilon of the norms.
      scale_shift: the embedding scales and shifts the second norm's output, h (1 + s) + b, in place of adding to its
        input.
      resample: none; down halves the sides by means of 2 x 2, up doubles them by copies, before the first convolution.
    """

    features: int
    groups: int = 32
    epsilon: float = 1e-5
    dtype: Any = None
    scale_shift: bool = False
    resample: Resample = "none"

    @nn.compact
    def __call__(self, x: jax.Array, embedding: jax.Array | None = None) -> jax.Array:
        """Transform a feature map.

        x [B, H, W, C], embedding [B, E] (None: none) -> [B, H, W, features], or of half or twice the sides.
        """
        h = nn.silu(GroupNorm(self.groups, epsilon=self.epsilon, dtype=self.dtype, name="norm1")(x))
        check_choice("resample", self.resample, Resample)
        if self.resample == "down":
            x, h = (nn.avg_pool(z, (2, 2), (2, 2)) for z in (x, h))
        elif self.resample == "up":
            x, h = (z.repeat(2, 1).repeat(2, 2) for z in (x, h))
        h = Conv(self.features, (3, 3), dtype=self.dtype, name="conv1")(h)
        norm2 = GroupNorm(self.groups, epsilon=self.epsilon, dtype=self.dtype, name="norm2")
        if embedding is not None:
            dense = Dense((1 + self.scale_shift) * self.features, dtype=self.dtype, name="time_emb_proj")
            embedding = dense(nn.silu(embedding))[:, None, None]
        # The timestep scales and shifts, or shifts alone.
        if embedding is not None and self.scale_shift:
            scale, shift = jnp.split(embedding, 2, -1)
            h = norm2(h) * (1 + scale) + shift
        else:
            h = norm2(h if embedding is None else h + embedding)
        h = nn.silu(h)
        h = Conv(self.features, (3, 3), dtype=self.dtype, kernel_init=_ZEROS, name="conv2")(h)
        if x.shape[-1] != self.features:
            x = Conv(self.features, (1, 1), dtype=self.dtype, name="conv_shortcut")(x)
        return x + h


class CrossAttention(nn.Module):
    """Multi-head attention to a context, or to the tokens themselves, whose output layer always has a bias.

    Args:
      num_heads: divides D.
      use_bias: biases of queries, keys and values.
      out_kernel_init: initializer of the output layer's kernel.
    """

    num_heads: int
    use_bias: bool = False
    out_kernel_init: Any = nn.initializers.lecun_normal()
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, context: jax.Array | None = None) -> jax.Array:
        """Attend from tokens: x [B, N, D], context [B, T, E] (None: x) -> [B, N, D]."""
        features, context = x.shape[-1], x if context is None else context
        if features % self.num_heads:
            raise ValueError(f"num_heads={self.num_heads}: not a divisor; allowed: divisors of the {features} channels")

        def project(name: str, tokens: jax.Array) -> jax.Array:
            tokens = Dense(features, self.use_bias, dtype=self.dtype, name=name)(tokens)
            return tokens.reshape(*tokens.shape[:-1], self.num_heads, -1)

        y = dot_product_attention(project("to_q", x), project("to_k", context), project("to_v", context))
        out = Dense(features, dtype=self.dtype, kernel_init=self.out_kernel_init, name="to_out_0")
        return out(y.reshape(x.shape))


class AttentionBlock(nn.Module):
    """Every position attends to every other; at the start it is the identity.

    Args:
      num_heads: divides C.
      groups: groups of the norm; None for no norm.
      epsilon: epsilon of the norm.
    """

    num_heads: int = 1
    groups: int | None = 32
    epsilon: float = 1e-5
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Attend over the positions of a feature map: [B, H, W, C] -> [B, H, W, C]."""
        h = x
        if self.groups is not None:
            h = GroupNorm(self.groups, epsilon=self.epsilon, dtype=self.dtype, name="group_norm")(x)
        attend = CrossAttention(self.num_heads, True, _ZEROS, self.dtype, name="attention")
        return x + attend(h.reshape(x.shape[0], -1, x.shape[-1])).reshape(x.shape)


class _TransformerBlock(nn.Module):
    """Self-attention, cross-attention and a gated perceptron."""

    num_heads: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, context: jax.Array) -> jax.Array:
        def norm(name: str) -> jax.Array:
            return LayerNorm(epsilon=1e-5, dtype=self.dtype, name=name)(x)

        # Self-attention, cross-attention to the prompt, and a gated MLP (GEGLU).
        x += CrossAttention(self.num_heads, dtype=self.dtype, name="attn1")(norm("norm1"))
        x += CrossAttention(self.num_heads, dtype=self.dtype, name="attn2")(norm("norm2"), context)
        h = Dense(8 * x.shape[-1], dtype=self.dtype, name="ff_in")(norm("norm3"))
        h, gate = jnp.split(h, 2, -1)
        return x + Dense(x.shape[-1], dtype=self.dtype, name="ff_out")(h * gelu(gate))


class SpatialTransformer(nn.Module):
    """Transformer blocks over the positions of a feature map, which attend to a context; at the start the identity.

    Args:
      num_heads: divides C.
      num_layers: transformer blocks.
      groups: groups of the norm.
    """

    num_heads: int = 8
    num_layers: int = 1
    groups: int = 32
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, context: jax.Array) -> jax.Array:
        """Attend over the positions, and to the context.

        x [B, H, W, C]; context [B, T, D], such as the words of a prompt -> [B, H, W, C].
        """
        h = GroupNorm(self.groups, epsilon=1e-6, dtype=self.dtype, name="norm")(x)
        h = Conv(x.shape[-1], (1, 1), dtype=self.dtype, name="proj_in")(h).reshape(x.shape[0], -1, x.shape[-1])
        for k in range(self.num_layers):
            h = _TransformerBlock(self.num_heads, self.dtype, name=f"transformer_blocks_{k}")(h, context)
        h = Conv(x.shape[-1], (1, 1), dtype=self.dtype, kernel_init=_ZEROS, name="proj_out")(h.reshape(x.shape))
        return x + h
