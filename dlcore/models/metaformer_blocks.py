"""Blocks of MetaFormers: a token mixer and an MLP, each with a residual connection; see `dlcore.models.metaformer`."""

import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.models.fields import CheckedFields
from dlcore.nn import Conv, Dense, FeedForward, GroupNorm, LayerNorm, MultiHeadAttention, drop_path, gelu
from dlcore.ops import avg_pool

__all__ = ["KERNEL_INIT", "MetaFormerBlock", "Mixer", "SeparableMixer", "StarReLU", "scale_channels"]

KERNEL_INIT = nn.initializers.truncated_normal(0.02)

Mixer = Literal["pool", "conv", "attention"]


def scale_channels(module: nn.Module, name: str, x: jax.Array, initial: float | None) -> jax.Array:
    """Multiply each channel by a learned factor, inside a compact method.

    Args:
      module: module that has the parameter.
      name: name of the parameter, [C].
      x: [..., C].
      initial: initial value of the factors; None: no factors.

    Returns:
      [..., C].
    """
    if initial is None:
        return x
    return x * module.param(name, nn.initializers.constant(initial), x.shape[-1:]).astype(x.dtype)


class StarReLU(nn.Module):
    """Squared ReLU with a learned scale `slope` and bias `offset`, one number each."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Apply the activation.

        Args:
          x: [...].

        Returns:
          [...].
        """
        slope = self.param("slope", nn.initializers.ones, (1,)).astype(x.dtype)
        offset = self.param("offset", nn.initializers.zeros, (1,)).astype(x.dtype)
        return slope * jnp.square(nn.relu(x)) + offset


class SeparableMixer(CheckedFields):
    """A 1x1 convolution to twice the channels, StarReLU, a depthwise 7x7 convolution and a 1x1 convolution."""

    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Mix the pixels.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H, W, C].
        """
        expanded, fields = 2 * x.shape[-1], {"use_bias": False, "dtype": self.dtype, "kernel_init": KERNEL_INIT}
        y = StarReLU(name="act1")(Dense(expanded, **fields, name="pwconv1")(x))
        y = Conv(expanded, (7, 7), padding=3, feature_group_count=expanded, **fields, name="dwconv")(y)
        return Dense(x.shape[-1], **fields, name="pwconv2")(y)


class MetaFormerBlock(CheckedFields):
    """A token mixer and an MLP, each with a residual connection.

    Args:
      mixer: pool, conv or attention.
      group_norm: normalize the whole map in place of each pixel.
      star: StarReLU without biases, in place of GELU with biases.
      mlp_ratio: hidden units of the MLP as a multiple of the channels.
      pool_size: side of the window of the pool.
      layer_scale: initial factor of each channel of a branch; None for none.
      residual_scale: initial factor of each channel of the shortcut; None for none.
    """

    mixer: Mixer
    group_norm: bool = False
    star: bool = True
    mlp_ratio: float = 4.0
    pool_size: int = 3
    layer_scale: float | None = None
    residual_scale: float | None = None
    drop_path: float = 0.0
    epsilon: float = 1e-6
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H, W, C].
        """
        channels = x.shape[-1]

        def norm(i: int, x: jax.Array) -> jax.Array:
            kind = functools.partial(GroupNorm, 1) if self.group_norm else LayerNorm
            return kind(epsilon=self.epsilon, dtype=self.dtype, use_bias=not self.star, name=f"norm{i}")(x)

        def joined(i: int, x: jax.Array, y: jax.Array) -> jax.Array:
            y = drop_path(scale_channels(self, f"layer_scale{i}", y, self.layer_scale), self.drop_path, train)
            return scale_channels(self, f"res_scale{i}", x, self.residual_scale) + y

        y = norm(1, x)
        if self.mixer == "pool":
            window = (self.pool_size,) * 2
            y = avg_pool(y, window, padding=self.pool_size // 2, count_include_pad=False) - y
        elif self.mixer == "conv":
            y = SeparableMixer(self.dtype, name="token_mixer")(y)
        else:
            attend = MultiHeadAttention(
                max(1, channels // 32),
                fused_qkv=True,
                use_bias=False,
                dtype=self.dtype,
                kernel_init=KERNEL_INIT,
                name="token_mixer",
            )
            y = attend(y.reshape(len(y), -1, channels), train=train).reshape(x.shape)
        x = joined(1, x, y)
        mlp = FeedForward(
            int(channels * self.mlp_ratio),
            StarReLU(name="mlp_act") if self.star else gelu,
            dtype=self.dtype,
            kernel_init=KERNEL_INIT,
            use_bias=not self.star,
            name="mlp",
        )
        return joined(2, x, mlp(norm(2, x)))
