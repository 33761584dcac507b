"""A tiny autoencoder that maps images to the latents of a large one, for previews: convolutions and ReLU alone.

Ollin Boer Bohan's TAESD, in the form of the diffusers library, whose weights it takes.

    block(x) = relu(x + conv(relu(conv(relu(conv(x))))))
    encoder  a convolution on [0, 1], then per level a convolution of stride 2 (not in the first) and blocks
    decoder  3 tanh(z / 3), a convolution, then per level blocks, nearest resize and a convolution
"""

from typing import Annotated

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.nn import Conv

__all__ = ["AutoencoderTiny"]


class _Block(nn.Module):
    """Three convolutions around a skip connection."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        h = x
        for k in (0, 2, 4):
            h = Conv(x.shape[-1], (3, 3), name=f"conv_{k}")(nn.relu(h) if k else h)
        return nn.relu(x + h)


class _Encoder(nn.Module):
    channels: tuple[int, ...]
    num_blocks: tuple[int, ...]
    latent_channels: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        layer = 0
        for level, (features, blocks) in enumerate(zip(self.channels, self.num_blocks, strict=True)):
            stride = 2 if level else 1
            x = Conv(features, (3, 3), stride, padding=1, use_bias=not level, name=f"layers_{layer}")(x)
            for k in range(blocks):
                x = _Block(name=f"layers_{layer + 1 + k}")(x)
            layer += 1 + blocks
        return Conv(self.latent_channels, (3, 3), name=f"layers_{layer}")(x)


class _Decoder(nn.Module):
    channels: tuple[int, ...]
    num_blocks: tuple[int, ...]
    image_channels: int

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        x = nn.relu(Conv(self.channels[0], (3, 3), name="layers_0")(3 * jnp.tanh(z / 3)))
        layer, last = 2, len(self.channels) - 1
        for level, blocks in enumerate(self.num_blocks):
            for k in range(blocks):
                x = _Block(name=f"layers_{layer + k}")(x)
            layer += blocks
            if level < last:
                x, layer = x.repeat(2, 1).repeat(2, 2), layer + 1
            features = self.image_channels if level == last else self.channels[level]
            x = Conv(features, (3, 3), use_bias=level == last, name=f"layers_{layer}")(x)
            layer += 1
        return x


class AutoencoderTiny(nn.Module):
    """Deterministic encoder and decoder.

    Args:
      channels: number of channels of each level of the encoder; each after the first halves the sides.
      num_blocks: blocks of each level of the encoder; the decoder has them in reverse.
      latent_channels: number of channels of the latent.
      image_channels: number of channels of the images.
    """

    channels: tuple[int, ...] = (64, 64, 64, 64)
    num_blocks: tuple[int, ...] = (1, 3, 3, 3)
    latent_channels: Annotated[int, Range(1)] = 4
    image_channels: Annotated[int, Range(1)] = 3

    def setup(self):
        """Build both halves."""
        if len(self.num_blocks) != len(self.channels):
            problem = f"{len(self.num_blocks)} levels; allowed: {len(self.channels)}, as channels"
            raise ValueError(f"num_blocks={self.num_blocks}: {problem}")
        self.encoder = _Encoder(self.channels, self.num_blocks, self.latent_channels)
        self.decoder = _Decoder(self.channels[::-1], self.num_blocks[::-1], self.image_channels)

    def encode(self, x: jax.Array) -> jax.Array:
        """Encode images: [B, H, W, C] in [-1, 1] -> [B, h, w, latent_channels]."""
        return self.encoder((x + 1) / 2)

    def decode(self, z: jax.Array) -> jax.Array:
        """Decode latents: [B, h, w, latent_channels] -> [B, H, W, C], about [-1, 1]."""
        return 2 * self.decoder(z) - 1

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Encode images and decode them again: [B, H, W, C] in [-1, 1] -> (decoded, latent)."""
        z = self.encode(x)
        return self.decode(z), z
