"""SAGAN and BigGAN: residual networks with self-attention and spectral norm, and how both players are given a class.

Zhang, Goodfellow, Metaxas & Odena 2018, arXiv:1805.08318; the projection is Miyato & Koyama 2018, arXiv:1802.05637, the
batch norm by class de Vries et al. 2017, arXiv:1707.00683, and the shared embedding and the split noise Brock, Donahue
& Simonyan 2018, arXiv:1809.11096 (BigGAN).

    G: dense -> [norm_y, relu, up 2x, conv, norm_y, relu, conv, + the input up 2x, 1 x 1] ... -> BatchNorm, relu, conv,
       tanh
    D: [relu, conv, relu, conv, halve, + the input halved, 1 x 1] ... -> block at that size -> relu, f = sum of pixels
    logit = w . f + b + e_y . f                                    e_y: a vector for each class, the projection
    norm_y(x) = gamma_y (x - mean) / std + beta_y                mean, std of the batch; gamma, beta of the class
    BigGAN, block k:  gamma = 1 + A c_k,  beta = B c_k,  c_k = (e_y, z_k)      e_y of one table for all blocks; z_k: a
                                                                               part of z, of which the stem reads z_0

Self-attention stands at the second highest resolution of G, and in D where the sides are the same. All kernels of both
are divided by their largest singular value, from one step of the power iteration a call. Fewer and narrower blocks than
the papers'; halving is the mean of 2 x 2 pixels.
"""

import functools
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.generative.dcgan import num_levels
from dlcore.learner import Range
from dlcore.nn import BatchNorm, Conv, Dense, Embed, SAGANAttention, SpectralNorm
from dlcore.nn.precision import compute_dtype
from dlcore.ops.precision import acc_dtype_of
from dlcore.ops.replica import REPLICA

__all__ = ["AdaptiveBatchNorm", "ConditionalBatchNorm", "Discriminator", "Generator"]

INIT, NORMAL = nn.initializers.xavier_uniform(), nn.initializers.normal(1.0)


class ConditionalBatchNorm(nn.Module):
    """Batch norm of [B, ..., C] with a scale and a bias for each class: parameters `scale`, `bias`: [num_classes, C].

    Args:
      num_classes: K.
      dtype: dtype of the output; None means by promotion.
    """

    num_classes: int
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, y: jax.Array, train: bool = False) -> jax.Array:
        """Normalize by the batch, then scale and shift by class.

        x [B, ..., C]; y [B] int in [0, num_classes) (others give NaN) -> [B, ..., C].
        """
        norm = BatchNorm(
            not train, dtype=self.dtype, axis_name=self.axis_name, use_scale=False, use_bias=False, name="norm"
        )
        table = (self.num_classes, x.shape[-1])
        scale = self.param("scale", nn.initializers.ones, table)
        bias = self.param("bias", nn.initializers.zeros, table)
        # A scale and a shift for each class; an unknown class gives NaN.
        rows = jnp.where((y >= 0) & (y < self.num_classes), y, self.num_classes)
        scale, bias = (
            values.at[rows].get(mode="fill", fill_value=jnp.nan).reshape(-1, *[1] * (x.ndim - 2), x.shape[-1])
            for values in (scale, bias)
        )
        x = norm(x)
        return (x * scale + bias).astype(x.dtype)


class AdaptiveBatchNorm(nn.Module):
    """Batch norm of [B, ..., C] whose scale, less 1, and bias are linear in a vector: BigGAN's norm.

    The maps are the submodules `scale` and `bias`, without biases of their own.

    Args:
      spectral_norm: divide both kernels by their largest singular values.
      dtype: dtype of the output; None means by promotion.
    """

    spectral_norm: bool = False
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, condition: jax.Array, train: bool = False) -> jax.Array:
        """Normalize by the batch, then scale and shift by the vector.

        x [B, ..., C], condition [B, D] -> [B, ..., C].
        """
        norm = BatchNorm(
            not train, dtype=self.dtype, axis_name=self.axis_name, use_scale=False, use_bias=False, name="norm"
        )
        dense = functools.partial(Dense, x.shape[-1], use_bias=False, dtype=self.dtype, kernel_init=INIT)
        scale, bias = (
            _wrapped(self.spectral_norm, train, dense(name=name), condition).reshape(
                -1, *[1] * (x.ndim - 2), x.shape[-1]
            )
            for name in ("scale", "bias")
        )
        x = norm(x)
        return (x * (1 + scale) + bias).astype(x.dtype)


class Generator(nn.Module):
    """Maps noise and a class to images in (-1, 1).

    Args:
      shape: (H, W, C) of an image; the first map is halved `num_levels` times.
      num_classes: K; 0 for a generator without a class, whose batch norm is plain.
      width: channels at full resolution; each halving doubles them, up to four times.
      attention: self-attention at the second highest resolution.
      spectral_norm: divide kernels by their largest singular values.
      class_embedding: length of the class's vector, one table for all blocks, whose norms are linear in it (BigGAN); 0
        for a scale and a bias of each class in each norm.
      split_latent: give the stem and each block a part of the noise of its own (BigGAN); with classes it needs
        `class_embedding`.
    """

    shape: tuple[int, ...]
    num_classes: int = 0
    width: Annotated[int, Range(1)] = 32
    attention: bool = True
    spectral_norm: bool = True
    dtype: Any = None
    axis_name: str | None = REPLICA
    class_embedding: Annotated[int, Range(0), "if changed"] = 0
    split_latent: Annotated[bool, "if changed"] = False

    @nn.compact
    def __call__(self, z: jax.Array, y: jax.Array | None = None, train: bool = False) -> jax.Array:
        """Generate images: z [B, Z], noise; y [B] int, classes (None without) -> [B, H, W, C] in (-1, 1)."""
        height, width, channels = self.shape
        levels = min(num_levels(height), num_levels(width))
        self._check(z.shape[-1], levels + 1)
        dtype = compute_dtype(self.dtype, z, self.variables)
        wrap = functools.partial(_wrapped, self.spectral_norm, train)
        conv = functools.partial(Conv, dtype=dtype, kernel_init=INIT)

        def features(k):
            return self.width * min(4, 2 ** (levels - k))

        # BigGAN: a part of the noise for the stem and for each block, beside a class vector that all blocks share.
        parts = jnp.array_split(z, levels + 1, -1) if self.split_latent else [z]
        embedded = []
        if self.class_embedding:
            table = Embed(self.num_classes, self.class_embedding, dtype=dtype, embedding_init=NORMAL, name="classes")
            embedded = [table(y)]
        conditions = [
            jnp.concatenate([*embedded, *parts[k : k + 1]], -1) if embedded or parts[k:] else None
            for k in range(1, levels + 1)
        ]

        def norm(x, name, condition):
            if condition is not None:
                adaptive = AdaptiveBatchNorm(self.spectral_norm, dtype, self.axis_name, name=name)
                return adaptive(x, condition, train)
            if self.num_classes:
                return ConditionalBatchNorm(self.num_classes, dtype, self.axis_name, name=name)(x, y, train)
            return BatchNorm(not train, dtype=dtype, axis_name=self.axis_name, name=name)(x)

        sides = height // 2**levels, width // 2**levels
        # Latent to the coarsest map.
        x = wrap(Dense(sides[0] * sides[1] * features(0), dtype=dtype, kernel_init=INIT, name="stem"), parts[0])
        x = x.reshape(-1, *sides, features(0))
        for k, condition in enumerate(conditions, 1):
            # Self-attention before the last upsampling.
            if self.attention and k == levels:
                x = wrap(SAGANAttention(dtype=dtype, name="attention"), x)
            # Residual block with upsampling, conditional batch norm and spectral norm.
            h = _up(nn.relu(norm(x, f"up{k}_norm0", condition)))
            h = wrap(conv(features(k), (3, 3), name=f"up{k}_conv0"), h)
            h = wrap(conv(features(k), (3, 3), name=f"up{k}_conv1"), nn.relu(norm(h, f"up{k}_norm1", condition)))
            x = h + _up(wrap(conv(features(k), (1, 1), name=f"up{k}_skip"), x))
        x = nn.relu(BatchNorm(not train, dtype=dtype, axis_name=self.axis_name, name="head_norm")(x))
        x = wrap(conv(channels, (3, 3), name="head"), x)
        return jnp.tanh(x.astype(acc_dtype_of(dtype or x.dtype)))

    def _check(self, latent_dim: int, parts: int) -> None:
        if self.class_embedding and not self.num_classes:
            raise ValueError(
                f"class_embedding={self.class_embedding}: there is no class; allowed: 0, or num_classes above 0"
            )
        if self.split_latent and self.num_classes and not self.class_embedding:
            raise ValueError("split_latent=True: a table of each class has no noise; allowed: class_embedding above 0")
        if self.split_latent and latent_dim < parts:
            raise ValueError(
                f"split_latent=True: {latent_dim} numbers for {parts} parts; allowed: {parts} numbers or more"
            )


class Discriminator(nn.Module):
    """Tells real images of a class from fake ones.

    Args:
      num_classes: K; 0 for a discriminator without a class, which has no projection.
      width: channels of the first block; each halving doubles them, up to four times.
      attention: self-attention after the first block.
      spectral_norm: divide kernels by their largest singular values.
    """

    num_classes: int = 0
    width: Annotated[int, Range(1)] = 32
    attention: bool = True
    spectral_norm: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, y: jax.Array | None = None, train: bool = False) -> jax.Array:
        """Classify images.

        x [B, H, W, C] in [-1, 1]; y [B] int, classes (None without); train, update the singular vectors of the kernels
        -> logits [B], positive for real.
        """
        dtype = compute_dtype(self.dtype, x, self.variables)
        levels = min(num_levels(x.shape[1]), num_levels(x.shape[2]))
        wrap = functools.partial(_wrapped, self.spectral_norm, train)
        conv = functools.partial(Conv, dtype=dtype, kernel_init=INIT)
        for k in range(levels + 1):
            features = self.width * min(4, 2**k)
            # Residual block with downsampling.
            h = x if k == 0 else nn.relu(x)
            h = wrap(conv(features, (3, 3), name=f"down{k}_conv0"), h)
            h = wrap(conv(features, (3, 3), name=f"down{k}_conv1"), nn.relu(h))
            x = wrap(conv(features, (1, 1), name=f"down{k}_skip"), x)
            x = _halved(h) + _halved(x) if k < levels else h + x
            # Self-attention at the finest map after the first block.
            if self.attention and k == 0:
                x = wrap(SAGANAttention(dtype=dtype, name="attention"), x)
        # Sum pooling.
        f = nn.relu(x).astype(acc_dtype_of(x.dtype)).sum((1, 2))
        logit = wrap(Dense(1, kernel_init=INIT, name="head"), f)[:, 0]
        if not self.num_classes:
            return logit
        # Projection discriminator: the class embedding times the features.
        embedding = Embed(self.num_classes, f.shape[-1], embedding_init=INIT, name="classes")
        return logit + (wrap(embedding, y) * f).sum(-1)


def _wrapped(spectral: bool, train: bool, layer: nn.Module, x: jax.Array) -> jax.Array:
    """Return the layer's output, by kernels of norm 1 where asked for."""
    return SpectralNorm(layer)(x, update_stats=train) if spectral else layer(x)


def _up(x: jax.Array) -> jax.Array:
    return x.repeat(2, 1).repeat(2, 2)


def _halved(x: jax.Array) -> jax.Array:
    b, height, width, c = x.shape
    return x.reshape(b, height // 2, 2, width // 2, 2, c).mean((2, 4))
