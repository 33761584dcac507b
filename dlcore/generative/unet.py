"""A small U-Net conditioned on the timestep: the noise predictor of pixel-space diffusion.

Ho, Jain & Abbeel 2020, arXiv:2006.11239, after Ronneberger, Fischer & Brox 2015, arXiv:1505.04597.

    block(x, t) = x + conv(silu(norm(conv(silu(norm(x))) + W silu(e(t)))))      norm: GroupNorm; 1x1 skip where wider
    e(t) = MLP([sin(t w), cos(t w)]),   w_k = 10000^(-k / K)
    levels down by convolution with stride 2, self-attention at the lowest, up by nearest resize and convolution, each
    level's maps concatenated on the way up

Smaller than the paper's. Images may first be cut into patches that become channels (`patch_size`, Hoogeboom et al.
2023, arXiv:2301.11093), which divides the cost by patch_size^2. The last convolution starts at zero, so that the
initial prediction is 0 and the initial loss the noise's variance, 1.
"""

import math
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.nn import Conv, Dense, GroupNorm
from dlcore.nn.precision import compute_dtype
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import acc_dtype_of

__all__ = ["ResidualBlock", "SelfAttention", "TimestepEmbedding", "UNet", "timestep_embedding"]


def timestep_embedding(
    t: jax.Array,
    features: int,
    max_period: float = 10000.0,
    *,
    cosine_first: bool = False,
    ends_at_period: bool = False,
) -> jax.Array:
    """Embed timesteps by sines, then cosines, of frequencies 1 to 1 / max_period.

    Args:
      t: [B], timesteps.
      features: size of an embedding, even.
      max_period: period of the slowest wave, over 2 pi.
      cosine_first: put the cosines before the sines (diffusers' flip_sin_to_cos).
      ends_at_period: the slowest frequency is 1 / max_period itself, not the one before (diffusers' freq_shift of 1).

    Returns:
      [B, features] float32.
    """
    check_shapes(
        t=(t, "B"), features=(features, f"int >= {4 if ends_at_period else 2}"), max_period=(max_period, "> 0")
    )
    if features % 2:
        raise ValueError(f"features={features}: odd; allowed: even numbers")
    frequencies = jnp.exp(-math.log(max_period) * jnp.arange(features // 2) / (features // 2 - ends_at_period))
    angles = t.astype(jnp.float32)[:, None] * frequencies
    sinusoids = [jnp.sin(angles), jnp.cos(angles)]
    return jnp.concatenate(sinusoids[::-1] if cosine_first else sinusoids, -1)


class TimestepEmbedding(nn.Module):
    """A perceptron of one hidden layer on the embedding of `timestep_embedding`.

    Args:
      features: number of features of both layers.
      kernel_init: initializer of both kernels.
    """

    features: int
    kernel_init: Any = nn.initializers.lecun_normal()
    dtype: Any = None

    @nn.compact
    def __call__(self, embedding: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        """Embed timesteps: embedding [B, D], sinusoidal; condition [B, G], added by a layer, or None -> [B, D']."""
        if condition is not None:
            embedding += Dense(embedding.shape[-1], use_bias=False, dtype=self.dtype, name="cond_proj")(condition)
        first, second = (
            Dense(self.features, dtype=self.dtype, kernel_init=self.kernel_init, name=f"linear_{k}") for k in (1, 2)
        )
        return second(nn.silu(first(embedding)))


def _norm(features: int, dtype: Any, name: str) -> nn.Module:
    return GroupNorm(math.gcd(8, features), dtype=dtype, name=name)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with the timestep added between them; at the start it is its skip connection alone.

    Args:
      features: output channels.
    """

    features: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, embedding: jax.Array) -> jax.Array:
        """Transform a feature map: x [B, H, W, C]; embedding [B, E], of the timesteps -> [B, H, W, features]."""
        h = nn.silu(_norm(x.shape[-1], self.dtype, "norm1")(x))
        h = Conv(self.features, (3, 3), dtype=self.dtype, name="conv1")(h)
        # The timestep shifts every channel.
        h += Dense(self.features, dtype=self.dtype, name="step")(nn.silu(embedding))[:, None, None]
        h = nn.silu(_norm(self.features, self.dtype, "norm2")(h))
        h = Conv(self.features, (3, 3), dtype=self.dtype, kernel_init=nn.initializers.zeros, name="conv2")(h)
        if x.shape[-1] != self.features:
            x = Conv(self.features, (1, 1), dtype=self.dtype, name="skip")(x)
        return x + h


class SelfAttention(nn.Module):
    """Every position attends to every other; at the start it is the identity.

    Args:
      num_heads: number of heads of the attention; divides C.
    """

    num_heads: int = 4
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Attend over the positions of a feature map: [B, H, W, C] -> [B, H, W, C]."""
        h = _norm(x.shape[-1], self.dtype, "norm")(x).reshape(x.shape[0], -1, x.shape[-1])
        attend = nn.MultiHeadDotProductAttention(
            self.num_heads, dtype=self.dtype, out_kernel_init=nn.initializers.zeros, name="attention"
        )
        return x + attend(h).reshape(x.shape)


class UNet(nn.Module):
    """Predicts an output of the input's shape.

    Args:
      width: channels of the first level; even.
      channel_multipliers: channels of each level, in widths.
      num_res_blocks: residual blocks of each level, each way.
      patch_size: side of the squares of pixels that become channels first: 2 for 28x28.
      attention: self-attention at the lowest level.
    """

    width: Annotated[int, Range(2)] = 32
    channel_multipliers: tuple[int, ...] = (1, 2)
    num_res_blocks: Annotated[int, Range(1)] = 1
    patch_size: Annotated[int, Range(1)] = 1
    attention: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, t: jax.Array) -> jax.Array:
        """Predict the noise.

        x [B, H, W, C] (H and W are multiples of patch_size 2^(levels - 1)); t [B], timesteps -> [B, H, W, C], at least
        float32.
        """
        b, height, width, channels = x.shape
        p, multiple = self.patch_size, self.patch_size * 2 ** (len(self.channel_multipliers) - 1)
        if height % multiple or width % multiple:
            allowed = f"multiples of {multiple}, or another patch_size or channel_multipliers"
            raise ValueError(f"x={height}x{width}: sides do not divide; allowed: {allowed}")
        dtype = compute_dtype(self.dtype, x, self.variables)
        # Timestep embedding for every residual block.
        embedding = timestep_embedding(t, self.width).astype(x.dtype)
        embedding = nn.silu(Dense(4 * self.width, dtype=dtype, name="step1")(embedding))
        embedding = Dense(4 * self.width, dtype=dtype, name="step2")(embedding)

        # Patches as channels.
        x = x.reshape(b, height // p, p, width // p, p, channels).swapaxes(2, 3)
        x = x.reshape(b, height // p, width // p, p * p * channels)
        x = Conv(self.width, (3, 3), dtype=dtype, name="stem")(x)
        # Down: residual blocks, each map kept for its skip connection.
        maps = [x]
        for level, multiplier in enumerate(self.channel_multipliers):
            if level:
                x = Conv(x.shape[-1], (3, 3), 2, padding=1, dtype=dtype, name=f"down{level}")(x)
                maps.append(x)
            for k in range(self.num_res_blocks):
                x = ResidualBlock(multiplier * self.width, dtype, name=f"down{level}_block{k}")(x, embedding)
                maps.append(x)
        # Middle, with self-attention at the coarsest level.
        x = ResidualBlock(x.shape[-1], dtype, name="middle_block")(x, embedding)
        if self.attention:
            x = SelfAttention(math.gcd(4, x.shape[-1]), dtype, name="middle_attention")(x)
        # Up: concatenate the skip connections.
        for level, multiplier in reversed(list(enumerate(self.channel_multipliers))):
            for k in range(self.num_res_blocks + 1):
                x = jnp.concatenate([x, maps.pop()], -1)
                x = ResidualBlock(multiplier * self.width, dtype, name=f"up{level}_block{k}")(x, embedding)
            if level:
                x = x.repeat(2, 1).repeat(2, 2)
                x = Conv(x.shape[-1], (3, 3), dtype=dtype, name=f"up{level}")(x)
        # The head starts at zero, and back from channels to patches.
        x = nn.silu(_norm(x.shape[-1], dtype, "norm")(x)).astype(acc_dtype_of(x.dtype))
        x = Conv(p * p * channels, (3, 3), kernel_init=nn.initializers.zeros, name="head")(x)
        x = x.reshape(b, height // p, width // p, p, p, channels).swapaxes(2, 3)
        return x.reshape(b, height, width, channels)
