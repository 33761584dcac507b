"""DCGAN: a convolutional generator and discriminator of images.

Radford, Metz & Chintala 2016, arXiv:1511.06434.

    G: dense -> [up 2x, convolution, BatchNorm, relu] ... -> convolution, tanh             noise to [-1, 1]
    D: convolution stride 2, leaky relu -> [convolution stride 2, BatchNorm, leaky relu] ... -> convolution, BatchNorm,
       leaky relu -> dense to one logit

Fewer and narrower layers than the paper's. Upsampling is nearest resize and convolution where the paper has a
transposed convolution: no checkerboard (Odena et al. 2016), and fast gradients on a CPU.
"""

import functools
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.nn import BatchNorm, Conv, Dense, leaky_relu
from dlcore.nn.precision import compute_dtype
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import acc_dtype_of
from dlcore.ops.replica import REPLICA

__all__ = ["Discriminator", "Generator", "num_levels"]

INIT = nn.initializers.normal(0.02)


def num_levels(side: int) -> int:
    """Count how often a side can be halved and leave at least 3 pixels: 8 -> 1, 28 -> 2, 32 -> 3.

    Args:
      side: side in pixels.

    Returns:
      The number of halvings.
    """
    check_shapes(side=(side, "int >= 1"))
    levels = 0
    while side % 2 == 0 and side >= 6:
        side, levels = side // 2, levels + 1
    return levels


class Generator(nn.Module):
    """Maps noise to images in (-1, 1).

    Args:
      shape: (H, W, C) of an image; the first map is halved `num_levels` times.
      width: channels at full resolution.
    """

    shape: tuple[int, ...]
    width: Annotated[int, Range(1)] = 32
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, z: jax.Array, train: bool = False) -> jax.Array:
        """Generate images: [B, Z], noise -> [B, H, W, C] in (-1, 1)."""
        height, width, channels = self.shape
        levels = min(num_levels(height), num_levels(width))
        dtype = compute_dtype(self.dtype, z, self.variables)
        norm = functools.partial(BatchNorm, not train, dtype=dtype, axis_name=self.axis_name)
        conv = functools.partial(Conv, kernel_size=(3, 3), dtype=dtype, kernel_init=INIT)
        features = self.width * 2**levels
        # Latent to the coarsest map, then double its sides.
        x = Dense(height * width // 4**levels * features, dtype=dtype, kernel_init=INIT, name="stem")(z)
        x = x.reshape(-1, height // 2**levels, width // 2**levels, features)
        x = nn.relu(norm(name="stem_norm")(x))
        for k in range(levels):
            x = x.repeat(2, 1).repeat(2, 2)
            x = conv(features // 2 ** (k + 1), use_bias=False, name=f"up{k}")(x)
            x = nn.relu(norm(name=f"up{k}_norm")(x))
        return jnp.tanh(conv(channels, name="head")(x).astype(acc_dtype_of(dtype or x.dtype)))


class Discriminator(nn.Module):
    """Tells real images from fake ones.

    Args:
      width: channels of the first convolution.
    """

    width: Annotated[int, Range(1)] = 32
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Classify images: [B, H, W, C] in [-1, 1] -> logits [B], positive for real."""
        dtype = compute_dtype(self.dtype, x, self.variables)
        levels = min(num_levels(x.shape[1]), num_levels(x.shape[2]))
        for k in range(levels + 1):
            # Strided convolutions; no batch norm in the first.
            features, last = self.width * 2 ** min(k, max(levels - 1, 0)), k == levels
            shape = {"kernel_size": (3, 3)} if last else {"kernel_size": (4, 4), "strides": 2, "padding": 1}
            conv = Conv(features, use_bias=k == 0, dtype=dtype, kernel_init=INIT, name=f"conv{k}", **shape)
            x = conv(x)
            if k:
                x = BatchNorm(not train, dtype=dtype, axis_name=self.axis_name, name=f"conv{k}_norm")(x)
            x = leaky_relu(x, 0.2)
        x = x.reshape(x.shape[0], -1).astype(acc_dtype_of(x.dtype))
        return Dense(1, kernel_init=INIT, name="head")(x)[:, 0]
