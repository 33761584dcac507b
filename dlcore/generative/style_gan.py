"""StyleGAN's generator: a learned constant, a style for each layer by a mapped latent, and noise for each layer.

Karras, Laine & Aila 2018, arXiv:1812.04948.

    w = f(z / sqrt(mean z^2))                                                   the mapping, dense layers
    layer: x <- leaky relu(conv(x) + s n),  x <- (1 + a(w)) norm(x) + b(w)      n: an image of noise, s: by channel
    constant, 2 layers at its size -> [up 2x, 2 layers] ... -> 1 x 1 convolution, tanh

The styles set what is drawn, the noise its detail. The network's input is [z, n] in one vector, z first and the noise
of all layers after it: so a sample is a function of one normal vector, as any GAN's, and noise is drawn anew for each.
No blur, no style mixing, no progressive growing; the scales s start at 0, as in the paper.
"""

import itertools
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.generative.dcgan import num_levels
from dlcore.generative.pixels import check_shape
from dlcore.learner import Range
from dlcore.nn import AdaptiveInstanceNorm, Conv, Dense, leaky_relu
from dlcore.nn.precision import compute_dtype
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import acc_dtype_of

__all__ = ["Generator", "Mapping", "Synthesis", "noise_maps", "noise_sizes"]


def noise_sizes(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """List the sides of the noise images, two for each resolution.

    Args:
      shape: (H, W, C) of an image.

    Returns:
      (h, w) of each layer, from the first on.
    """
    check_shape(shape, 3)
    levels = min(num_levels(shape[0]), num_levels(shape[1]))
    return [(shape[0] // 2**k, shape[1] // 2**k) for k in reversed(range(levels + 1)) for _ in range(2)]


def noise_maps(noise: jax.Array, sizes: list[tuple[int, int]]) -> list[jax.Array]:
    """Divide the noise of all layers into one map for each.

    Args:
      noise: [B, N].
      sizes: (h, w) of each layer, N numbers in all.

    Returns:
      [B, h, w, 1] of each layer.
    """
    check_shapes(noise=(noise, f"B {sum(height * width for height, width in sizes)}"))
    boundaries = list(itertools.accumulate(height * width for height, width in sizes))
    parts = jnp.split(noise, boundaries[:-1], -1)
    return [part.reshape(-1, *size, 1) for part, size in zip(parts, sizes, strict=True)]


class Mapping(nn.Module):
    """Maps latents z [B, Z] to w [B, Z].

    Args:
      depth: dense layers.
    """

    depth: int = 4
    dtype: Any = None

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        """Map latents: [B, Z]; their lengths do not matter -> [B, Z]."""
        # Normalize the latent (pixel norm).
        w = z * jax.lax.rsqrt(jnp.square(z).mean(-1, keepdims=True) + 1e-8)
        for k in range(self.depth):
            w = leaky_relu(Dense(z.shape[-1], dtype=self.dtype, name=f"dense{k}")(w), 0.2)
        return w


class Synthesis(nn.Module):
    """Draws images from w and noise.

    Args:
      shape: (H, W, C) of an image.
      width: channels at full resolution; each halving doubles them, up to four times.
    """

    shape: tuple[int, ...]
    width: int = 32
    dtype: Any = None

    @nn.compact
    def __call__(self, w: jax.Array, noise: jax.Array) -> jax.Array:
        """Draw images: w [B, Z]; noise [B, N], of all layers -> [B, H, W, C] in (-1, 1)."""
        sizes = noise_sizes(self.shape)
        levels = len(sizes) // 2 - 1

        def features(k):
            return self.width * min(4, 2 ** (levels - k // 2))

        # The input is a learned constant.
        constant = self.param("constant", nn.initializers.ones, (*sizes[0], features(0)))
        x = jnp.broadcast_to(constant, (w.shape[0], *constant.shape)).astype(w.dtype)
        for k, n in enumerate(noise_maps(noise, sizes)):
            if k > 1 and k % 2 == 0:
                x = x.repeat(2, 1).repeat(2, 2)
            if k > 0:
                x = Conv(features(k), (3, 3), dtype=self.dtype, name=f"conv{k}")(x)
            # Noise of each layer, scaled for each channel.
            scale = self.param(f"noise{k}", nn.initializers.zeros, (features(k),))
            x = leaky_relu(x + (scale * n).astype(x.dtype), 0.2)
            # The style sets mean and deviation of each channel.
            x = AdaptiveInstanceNorm(dtype=self.dtype, name=f"style{k}")(x, w)
        x = Conv(self.shape[-1], (1, 1), dtype=self.dtype, name="head")(x)
        return jnp.tanh(x.astype(acc_dtype_of(self.dtype or x.dtype)))


class Generator(nn.Module):
    """Maps a latent and noise to images in (-1, 1).

    Args:
      shape: (H, W, C) of an image.
      width: channels at full resolution; each halving doubles them, up to four times.
      mapping_depth: dense layers from z to w.
    """

    shape: tuple[int, ...]
    width: Annotated[int, Range(1)] = 32
    mapping_depth: Annotated[int, Range(0)] = 4
    dtype: Any = None

    @property
    def num_noise(self) -> int:
        """Numbers of noise that the layers take."""
        return sum(height * width for height, width in noise_sizes(self.shape))

    @nn.compact
    def _parts(self, dtype: Any) -> tuple[Mapping, Synthesis]:
        return (
            Mapping(self.mapping_depth, dtype, name="mapping"),
            Synthesis(self.shape, self.width, dtype, name="synthesis"),
        )

    def __call__(self, z: jax.Array, train: bool = False) -> jax.Array:
        """Generate images: [B, Z + num_noise], the latent and the noise of all layers -> [B, H, W, C] in (-1, 1)."""
        if z.shape[-1] <= self.num_noise:
            raise ValueError(f"z={z.shape}: no latent beside the noise; allowed: more than {self.num_noise} numbers")
        mapping, synthesis = self._parts(compute_dtype(self.dtype, z, self.variables))
        # The input holds the latent and the noise of all layers.
        latent, noise = jnp.split(z, [z.shape[-1] - self.num_noise], -1)
        return synthesis(mapping(latent), noise)

    def styles(self, z: jax.Array) -> jax.Array:
        """Map latents: [B, Z] -> w, [B, Z]."""
        return self._parts(compute_dtype(self.dtype, z, self.variables))[0](z)

    def synthesize(self, w: jax.Array, noise: jax.Array) -> jax.Array:
        """Draw images of given styles: w [B, Z], noise [B, num_noise] -> [B, H, W, C] in (-1, 1)."""
        return self._parts(compute_dtype(self.dtype, w, self.variables))[1](w, noise)
