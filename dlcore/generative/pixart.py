"""PixArt-alpha: a diffusion transformer with cross-attention to a text and one modulation of all blocks (adaLN-single).

Chen et al. 2023, arXiv:2310.00426, in the form of the diffusers library, whose weights it takes
(`dlcore.generative.torch_diffusers`).

    x = W patches + positions,   context = MLP(text),   e = MLP(waves of t),   c = W_c silu(e)
    shift, scale, gate (of attention and of perceptron) = table of the block + c
    x = x + gate attention((1 + scale) LN(x) + shift),   x = x + attention(x, context)
    x = x + gate MLP((1 + scale) LN(x) + shift)
    prediction = unpatchify(W ((1 + scale) LN(x) + shift)),   shift, scale = last table + e

The cross-attention reads tokens without a norm. Its last layer starts at zero, and so does the head. Positions are
sines and cosines, stretched so that images of all sizes have those of base_grid patches. The published networks predict
the variance too, with twice the channels. The 1024-pixel network's embeddings of resolution and aspect are not here.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.generative.dit import WAVES, modulate
from dlcore.generative.two_stream import plain_norm
from dlcore.generative.unet import TimestepEmbedding, timestep_embedding
from dlcore.generative.unet_blocks import CrossAttention
from dlcore.learner import Range
from dlcore.nn import Dense
from dlcore.nn.position import grid_positions
from dlcore.nn.precision import compute_dtype
from dlcore.nn.transformer import FeedForward
from dlcore.ops.patches import patchify, unpatchify
from dlcore.ops.precision import acc_dtype_of

__all__ = ["PixArt"]

_ZEROS = nn.initializers.zeros


def _table(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    return jax.random.normal(key, shape, dtype) / shape[-1] ** 0.5


class _Block(nn.Module):
    """Self-attention and a perceptron between modulated norms and gates, and cross-attention between them."""

    num_heads: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, context: jax.Array, c: jax.Array) -> jax.Array:
        width = x.shape[-1]
        table = self.param("scale_shift_table", _table, (6, width)) + c.reshape(-1, 6, width)  # [B, 6, D]
        shift1, scale1, gate1, shift2, scale2, gate2 = jnp.moveaxis(table.astype(x.dtype), 1, 0)
        attend = CrossAttention(self.num_heads, use_bias=True, dtype=self.dtype, name="attn1")
        x += gate1[:, None] * attend(modulate(plain_norm(x, self.dtype), shift1, scale1))
        x += CrossAttention(self.num_heads, True, _ZEROS, dtype=self.dtype, name="attn2")(x, context)
        mlp = FeedForward(4 * width, nn.gelu, dtype=self.dtype, name="ff")
        return x + gate2[:, None] * mlp(modulate(plain_norm(x, self.dtype), shift2, scale2))


class _Timestep(nn.Module):
    """The embedding of the timestep, and the modulation that all blocks share."""

    width: int
    dtype: Any = None

    @nn.compact
    def __call__(self, t: jax.Array) -> tuple[jax.Array, jax.Array]:
        sinusoidal_embedding = timestep_embedding(t, WAVES, cosine_first=True).astype(self.dtype)
        e = TimestepEmbedding(self.width, dtype=self.dtype, name="emb_timestep_embedder")(sinusoidal_embedding)
        return e, Dense(6 * self.width, dtype=self.dtype, name="linear")(nn.silu(e))


class _Caption(nn.Module):
    """A perceptron on each word."""

    width: int
    dtype: Any = None

    @nn.compact
    def __call__(self, words: jax.Array) -> jax.Array:
        first, second = (Dense(self.width, dtype=self.dtype, name=f"linear_{k}") for k in (1, 2))
        return second(nn.gelu(first(words)))


class PixArt(nn.Module):
    """Predicts an output of the input's sides from it, the timestep and a text.

    Args:
      width: D, of a token; a multiple of 4.
      depth: blocks.
      num_heads: attention heads; divides width.
      patch_size: side of a patch.
      out_channels: number of channels of the prediction; None takes the input's.
      base_grid: patches on a side whose positions all images have, stretched to their size; None does not stretch.
      position_scale: what positions are divided by besides.
    """

    width: Annotated[int, Range(4)] = 64
    depth: Annotated[int, Range(1)] = 2
    num_heads: Annotated[int, Range(1)] = 4
    patch_size: Annotated[int, Range(1)] = 2
    out_channels: int | None = None
    base_grid: int | None = None
    position_scale: Annotated[float, Range(1e-3)] = 1.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, t: jax.Array, context: jax.Array) -> jax.Array:
        """Predict the noise.

        x [B, H, W, C] (H and W are multiples of patch_size); t [B], timesteps; context [B, T, E], the words of a text
        -> [B, H, W, out_channels], at least float32.
        """
        _, height, width, channels = x.shape
        p, out = self.patch_size, self.out_channels or channels
        if height % p or width % p:
            raise ValueError(f"x={height}x{width}: sides do not divide; allowed: multiples of patch_size={p}")
        rows, columns = height // p, width // p
        dtype = compute_dtype(self.dtype, x, self.variables)
        x = Dense(self.width, dtype=dtype, name="patch_embed")(patchify(x, p))
        row_scale, column_scale = ((self.base_grid or n) / n / self.position_scale for n in (rows, columns))
        x += jnp.asarray(grid_positions(rows, columns, self.width, (row_scale, column_scale)), x.dtype)
        e, c = _Timestep(self.width, dtype, name="adaln_single")(t)
        context = _Caption(self.width, dtype, name="caption_projection")(context)
        for k in range(self.depth):
            x = _Block(self.num_heads, dtype, name=f"transformer_blocks_{k}")(x, context, c)
        # The head starts at zero.
        table = self.param("scale_shift_table", _table, (2, self.width)) + e[:, None]  # [B, 2, D]
        x = modulate(plain_norm(x, dtype), table[:, 0], table[:, 1]).astype(acc_dtype_of(x.dtype))
        x = Dense(p * p * out, kernel_init=_ZEROS, name="proj_out")(x)
        return unpatchify(x, p, height, width)
