"""DiT: a transformer over patches in place of the U-Net of diffusion.

Peebles & Xie 2023, arXiv:2212.09748, with diffusers' weights (`dlcore.generative.torch_diffusers`).

    x = W patches + positions,   c = MLP(waves of t) + embedding of the class
    shift, scale, gate (of attention and of perceptron) = W_c silu(c)                                    adaLN
    x = x + gate attention((1 + scale) LN(x) + shift),   x = x + gate MLP((1 + scale) LN(x) + shift)
    prediction = unpatchify(W ((1 + scale) LN(x) + shift))

adaLN-zero: W_c and the last W start at zero, so that every block starts as the identity, the first prediction is 0 and
the first loss 1. Positions are sines and cosines of column and row. The class after the last is the null class.
At its published size, DiT-XL/2 on latents of 32 x 32 x 4 with learned variances (8 channels out) has 674,834,720
parameters; the original counts its 294,912 positions too, 675,129,632.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.generative.unet import TimestepEmbedding, timestep_embedding
from dlcore.learner import Range
from dlcore.nn import Dense
from dlcore.nn.attention import MultiHeadAttention
from dlcore.nn.embed import Embed
from dlcore.nn.group_norm import LayerNorm
from dlcore.nn.position import grid_positions
from dlcore.nn.precision import compute_dtype
from dlcore.nn.transformer import FeedForward
from dlcore.ops.checks import check_shapes
from dlcore.ops.patches import patchify, unpatchify
from dlcore.ops.precision import acc_dtype_of, result_dtype, to_acc_dtype

__all__ = ["DiT", "modulate"]

WAVES = 256
"""Features of a timestep."""

_ZEROS = nn.initializers.zeros
_EMBED = nn.initializers.normal(0.02)


def modulate(x: jax.Array, shift: jax.Array, scale: jax.Array) -> jax.Array:
    """Scale and shift tokens by vectors of their example, x (1 + scale) + shift.

    Args:
      x: [B, N, D].
      shift: [B, D].
      scale: [B, D].

    Returns:
      [B, N, D].
    """
    check_shapes(x=(x, "B N D"), shift=(shift, "B D"), scale=(scale, "B D"))
    dtype = result_dtype(x, shift, scale)
    x, shift, scale = map(to_acc_dtype, (x, shift, scale))
    return (x * (1 + scale[:, None]) + shift[:, None]).astype(dtype)


class _Conditioning(nn.Module):
    """The embedding c of timestep and class."""

    width: int
    num_classes: int | None
    ends_at_period: bool
    dtype: Any = None

    @nn.compact
    def __call__(self, t: jax.Array, label: jax.Array | None) -> jax.Array:
        sinusoidal = timestep_embedding(t, WAVES, cosine_first=True, ends_at_period=self.ends_at_period)
        c = TimestepEmbedding(self.width, _EMBED, self.dtype, name="timestep_embedder")(sinusoidal)
        if self.num_classes is not None:
            embed = Embed(self.num_classes + 1, self.width, embedding_init=_EMBED, dtype=self.dtype, name="classes")
            c += embed(label)
        return c


class _Block(nn.Module):
    """Attention and a perceptron, each between a modulated norm and a gate."""

    num_heads: int
    mlp_ratio: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, c: jax.Array) -> jax.Array:
        width, init = x.shape[-1], nn.initializers.xavier_uniform()
        # adaLN-Zero: shift, scale and gate from the condition; gates start at zero.
        modulation = Dense(6 * width, kernel_init=_ZEROS, dtype=self.dtype, name="modulation")(nn.silu(c))
        shift1, scale1, gate1, shift2, scale2, gate2 = jnp.split(modulation, 6, -1)
        attend = MultiHeadAttention(self.num_heads, dtype=self.dtype, kernel_init=init, name="attn")
        # Attention and MLP, each gated.
        x += gate1[:, None] * attend(modulate(_norm(self.dtype)(x), shift1, scale1))
        mlp = FeedForward(self.mlp_ratio * width, nn.gelu, dtype=self.dtype, kernel_init=init, name="mlp")
        return x + gate2[:, None] * mlp(modulate(_norm(self.dtype)(x), shift2, scale2))


def _norm(dtype: Any) -> nn.Module:
    return LayerNorm(epsilon=1e-6, use_bias=False, use_scale=False, dtype=dtype)


class DiT(nn.Module):
    """Predicts an output of the input's shape from it, the timestep and the class.

    Args:
      width: D, of a token; a multiple of 4.
      depth: blocks.
      num_heads: attention heads; divides width.
      patch_size: side of a patch.
      mlp_ratio: hidden units of the perceptrons, in widths.
      num_classes: K, without the null class; None for no class.
      out_channels: number of channels of the prediction; None takes the input's.
      shared_embedding: one embedding of timestep and class for all blocks, as in the paper; diffusers keeps one in each
        block, and the first block's is the last layer's too.
      ends_at_period: let the last frequency of the timestep's embedding reach the period, see `timestep_embedding`;
        diffusers' weights want it.
    """

    width: Annotated[int, Range(4)] = 128
    depth: Annotated[int, Range(1)] = 4
    num_heads: Annotated[int, Range(1)] = 4
    patch_size: Annotated[int, Range(1)] = 2
    mlp_ratio: Annotated[int, Range(1)] = 4
    num_classes: int | None = None
    out_channels: int | None = None
    shared_embedding: bool = True
    ends_at_period: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, t: jax.Array, label: jax.Array | None = None) -> jax.Array:
        """Predict the noise.

        x [B, H, W, C] (H and W are multiples of patch_size); t [B], timesteps; label [B] int, classes, K for none (None
        where num_classes is None) -> [B, H, W, out_channels], at least float32.
        """
        _, height, width, channels = x.shape
        p, out = self.patch_size, self.out_channels or channels
        if height % p or width % p:
            raise ValueError(f"x={height}x{width}: sides do not divide; allowed: multiples of patch_size={p}")
        dtype = compute_dtype(self.dtype, x, self.variables)
        embed = _Conditioning(self.width, self.num_classes, self.ends_at_period, dtype, name="conditioning")
        # Patch embedding and fixed sinusoidal positions.
        x = Dense(self.width, kernel_init=nn.initializers.xavier_uniform(), dtype=dtype, name="patch_embed")(
            patchify(x, p)
        )
        x += jnp.asarray(grid_positions(height // p, width // p, self.width), x.dtype)
        c = embed(t, label)
        for k in range(self.depth):
            # Conditioning of each block: timestep and class.
            block_cond = c
            if not self.shared_embedding and k:
                name = f"transformer_blocks_{k}_conditioning"
                block_cond = _Conditioning(self.width, self.num_classes, self.ends_at_period, dtype, name=name)(
                    t, label
                )
            x = _Block(self.num_heads, self.mlp_ratio, dtype, name=f"transformer_blocks_{k}")(x, block_cond)
        # Final layer, adaptive norm and a linear head that starts at zero.
        modulation = Dense(2 * self.width, kernel_init=_ZEROS, dtype=dtype, name="proj_out_1")(nn.silu(c))
        x = modulate(_norm(dtype)(x), *jnp.split(modulation, 2, -1)).astype(acc_dtype_of(x.dtype))
        x = Dense(p * p * out, kernel_init=_ZEROS, name="proj_out_2")(x)
        return unpatchify(x, p, height, width)
