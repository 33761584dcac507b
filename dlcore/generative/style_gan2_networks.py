"""StyleGAN 2's networks: styles scale the weights of each convolution, whose outputs are demodulated to variance 1.

Karras, Laittala, Aittala, Hellsten, Lehtinen & Aila 2019, arXiv:1912.04958; the deviation within a batch is Karras,
Aila, Laine & Lehtinen 2017, arXiv:1710.10196.

    modulated convolution  w'_kio = s_i w_kio,  w''_kio = w'_kio / sqrt(sum_ki w'_kio^2)       s = A f(z) by layer
    G: constant -> [up 2x, 2 modulated convolutions] ...              image = sum of the enlarged RGB_k
    D: 1 x 1 -> [(conv, conv, halve + 1 x 1, halve) / sqrt 2] ... -> deviation of the group -> conv, dense, dense

A convolution by weights of each example is computed with shared ones, of the scaled input, and its output is scaled:
the same numbers, and fast on a CPU. Each convolution of G is followed by noise of one learned scale, which starts at 0,
and sqrt 2 times a leaky relu. In training D reads the deviation within groups of images, by which it sees samples that
are all alike; in evaluation it reads the running mean of that, so that results do not depend on the batch.

Maps are enlarged by bilinear interpolation and halved by means. Only the mapping has equalized learning
rates; there is no style mixing and no truncation.
"""

import math
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.generative import style_gan
from dlcore.generative.dcgan import num_levels
from dlcore.generative.style_gan import noise_maps, noise_sizes
from dlcore.learner import Range
from dlcore.nn import Conv, Dense, leaky_relu
from dlcore.nn.precision import compute_dtype
from dlcore.ops import avg_pool, conv_general_dilated, resize
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import acc_dtype_of, to_acc_dtype
from dlcore.ops.replica import pmean

__all__ = [
    "Discriminator",
    "EqualizedMapping",
    "Generator",
    "ModulatedConv",
    "StyledSynthesis",
    "minibatch_deviation",
    "modulated_conv",
]

DECAY = 0.01
"""Share of a batch's deviation in the running average of the discriminator."""


def modulated_conv(
    x: jax.Array, kernel: jax.Array, styles: jax.Array, demodulate: bool = True, epsilon: float = 1e-8
) -> jax.Array:
    """Convolve each example with weights that its style scales and, demodulated, have norm 1 for each output channel.

    Args:
      x: [B, H, W, I].
      kernel: [h, w, I, O], shared weights.
      styles: [B, I], factors on the input channels of the weights.
      demodulate: divide by the norm of the scaled weights, so that inputs of unit variance give outputs of it.
      epsilon: added to the squared norm.

    Returns:
      [B, H, W, O], padded by zeros.
    """
    check_shapes(x=(x, "B H W I"), kernel=(kernel, "h w I O"), styles=(styles, "B I"), epsilon=(epsilon, ">= 0"))
    y = conv_general_dilated(
        x * styles[:, None, None], kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    if not demodulate:
        return y
    # Norm of the weights of each example and output channel.
    weights, styles = (values.astype(acc_dtype_of(x.dtype)) for values in (kernel, styles))
    squares = jnp.square(styles) @ jnp.square(weights).sum((0, 1))  # [B, O]
    return y * jax.lax.rsqrt(squares + epsilon)[:, None, None].astype(y.dtype)


def minibatch_deviation(x: jax.Array, group_size: int = 4) -> jax.Array:
    """Measure how much images of a group differ: the deviation of each feature, averaged over features.

    Args:
      x: [B, ...].
      group_size: images of a group, neighbors in the batch; where it does not divide B, the greatest common divisor.

    Returns:
      [B], at least float32.
    """
    check_shapes(group_size=(group_size, "int >= 1"))
    size = math.gcd(len(x), group_size)
    groups = x.reshape(len(x) // size, size, -1).astype(acc_dtype_of(x.dtype))
    variance = jnp.square(groups - groups.mean(1, keepdims=True)).mean(1)  # [B / size, features]
    return jnp.sqrt(variance + 1e-8).mean(-1).repeat(size)


class ModulatedConv(nn.Module):
    """Modulated convolution with a bias: parameters `kernel`, `bias`, and the affine map `affine` from w to the styles.

    Args:
      features: output channels.
      kernel_size: (h, w).
      demodulate: give outputs unit variance for inputs of unit variance.
    """

    features: int
    kernel_size: tuple[int, int] = (3, 3)
    demodulate: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, w: jax.Array) -> jax.Array:
        """Convolve maps by styles: x [B, H, W, I], w [B, Z] -> [B, H, W, features]."""
        styles = Dense(x.shape[-1], bias_init=nn.initializers.ones, dtype=self.dtype, name="affine")(w)
        shape = (*self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, styles = nn.dtypes.promote_dtype(x, kernel, styles, dtype=self.dtype)
        return modulated_conv(x, kernel, styles, self.demodulate) + bias.astype(x.dtype)


class EqualizedMapping(nn.Module):
    """Maps latents z [B, Z] to w [B, Z] of about unit variance, and learns slowly.

    Parameters `kernel{k}` start with deviation 1 / rate and count rate / sqrt(Z) times, so that a step of Adam changes
    the map by the fraction rate of what it changes other layers.

    Args:
      depth: dense layers.
      rate: factor on the learning rate.
    """

    depth: int = 4
    rate: float = 0.01
    dtype: Any = None

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        """Map latents: [B, Z]; their lengths do not matter -> [B, Z]."""
        w, size = z * jax.lax.rsqrt(jnp.square(z).mean(-1, keepdims=True) + 1e-8), z.shape[-1]
        for k in range(self.depth):
            kernel = self.param(f"kernel{k}", nn.initializers.normal(1 / self.rate), (size, size))
            bias = self.param(f"bias{k}", nn.initializers.zeros, (size,))
            w, kernel, bias = nn.dtypes.promote_dtype(w, kernel, bias, dtype=self.dtype)
            w = leaky_relu(w @ (kernel * (self.rate / math.sqrt(size))) + bias * self.rate, 0.2) * math.sqrt(2)
        return w


class StyledSynthesis(nn.Module):
    """Draws images from w and noise, as the sum of one image of each resolution.

    Args:
      shape: (H, W, C) of an image.
      width: channels at full resolution; each halving doubles them, up to four times.
    """

    shape: tuple[int, ...]
    width: int = 32
    dtype: Any = None

    @nn.compact
    def __call__(self, w: jax.Array, noise: jax.Array) -> jax.Array:
        """Draw images: w [B, Z]; noise [B, N], of all layers -> [B, H, W, C], about [-1, 1]."""
        sizes = noise_sizes(self.shape)[1:]
        levels = len(sizes) // 2
        constant = self.param("constant", nn.initializers.normal(1.0), (*sizes[0], self._features(levels)))
        x = jnp.broadcast_to(constant, (w.shape[0], *constant.shape)).astype(w.dtype)
        image = jnp.zeros((w.shape[0], *sizes[0], self.shape[-1]), acc_dtype_of(self.dtype or x.dtype))
        for k, (size, n) in enumerate(zip(sizes, noise_maps(noise, sizes), strict=True)):
            # The first of two layers of a resolution enlarges the map.
            level = levels - (k + 1) // 2
            if k % 2 == 1:
                x, image = resize(x, size), resize(image, size)
            x = ModulatedConv(self._features(level), dtype=self.dtype, name=f"conv{k}")(x, w)
            scale = self.param(f"noise{k}", nn.initializers.zeros, ())
            x = leaky_relu(x + (scale * n).astype(x.dtype), 0.2) * math.sqrt(2)
            # The second one adds its image to the sum.
            if k % 2 == 0:
                to_rgb = ModulatedConv(self.shape[-1], (1, 1), False, dtype=self.dtype, name=f"rgb{k // 2}")
                image = image + to_rgb(x, w).astype(image.dtype)
        return image

    def _features(self, level: int) -> int:
        return self.width * min(4, 2**level)


class Generator(style_gan.Generator):
    """Maps a latent and noise to images of about [-1, 1].

    Args:
      shape: (H, W, C) of an image.
      width: channels at full resolution; each halving doubles them, up to four times.
      mapping_depth: dense layers from z to w.
    """

    @property
    def num_noise(self) -> int:
        """Numbers of noise that the layers take."""
        return sum(height * width for height, width in noise_sizes(self.shape)[1:])

    @nn.compact
    def _parts(self, dtype: Any) -> tuple[EqualizedMapping, StyledSynthesis]:
        return (
            EqualizedMapping(self.mapping_depth, dtype=dtype, name="mapping"),
            StyledSynthesis(self.shape, self.width, dtype, name="synthesis"),
        )


class Discriminator(nn.Module):
    """Tells real images from fake ones: residual blocks, and the deviation within groups of images.

    Args:
      width: channels of the first block; each halving doubles them, up to four times.
      group_size: images of a group whose deviation is measured in training.
    """

    width: Annotated[int, Range(1)] = 32
    group_size: Annotated[int, Range(1)] = 4
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Classify images.

        x [B, H, W, C], about [-1, 1]; train, take the deviation of the batch, and update the running one -> logits [B],
        positive for real.
        """
        dtype = compute_dtype(self.dtype, x, self.variables)
        levels = min(num_levels(x.shape[1]), num_levels(x.shape[2]))
        x = leaky_relu(Conv(self.width, (1, 1), dtype=dtype, name="from_rgb")(x), 0.2)
        for k in range(levels):
            # Residual block that halves the map.
            features = self.width * min(4, 2 ** (k + 1))
            h = leaky_relu(Conv(x.shape[-1], (3, 3), dtype=dtype, name=f"down{k}_conv0")(x), 0.2)
            h = leaky_relu(Conv(features, (3, 3), dtype=dtype, name=f"down{k}_conv1")(h), 0.2)
            skip = Conv(features, (1, 1), use_bias=False, dtype=dtype, name=f"down{k}_skip")(x)
            x = avg_pool(h + skip, (2, 2), (2, 2)) / math.sqrt(2)
        # Deviation within groups as one more channel.
        running = self.variable("batch_stats", "deviation", jnp.zeros, ())
        deviation = jnp.broadcast_to(running.value, len(x))
        if train:
            deviation = minibatch_deviation(x, self.group_size)
            if self.is_mutable_collection("batch_stats"):
                running.value += DECAY * (pmean(deviation.mean()) - running.value)
        channel = jnp.broadcast_to(deviation[:, None, None, None], (*x.shape[:-1], 1)).astype(x.dtype)
        x = jnp.concatenate([x, channel], -1)
        features = x.shape[-1] - 1
        x = leaky_relu(Conv(features, (3, 3), dtype=dtype, name="last_conv")(x), 0.2)
        x = leaky_relu(Dense(features, dtype=dtype, name="last_dense")(x.reshape(len(x), -1)), 0.2)
        return Dense(1, name="head")(to_acc_dtype(x))[:, 0]
