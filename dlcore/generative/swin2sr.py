"""Swin2SR: super-resolution and repair of images by Swin transformer blocks at the image's own resolution.

Conde, Choi, Burchi & Timofte, "Swin2SR: SwinV2 transformer for compressed image super-resolution and restoration"
(2022), arXiv:2209.11345, after SwinIR (Liang et al. 2021, arXiv:2108.10257).

    f_0 = conv3x3(r (x - mean)),   z = LN(patches f_0)
    z = z + patches(conv(blocks(z)))      residual Swin groups of `dlcore.models.swin_v2`'s blocks, none of which merges
    f = f_0 + conv3x3(LN(z)),   y = upsampler(f) / r + mean

The upsampler is a stack of convolutions and pixel shuffles (classical), one of them (light), nearest neighbors and
convolutions (real photographs), or a convolution whose output is added to the image (denoising, JPEG). Weights are
those of transformers' Swin2SRForImageSuperResolution.
"""

import functools
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models import swin_v2
from dlcore.models.fields import CheckedFields
from dlcore.models.swin_v2 import SwinBlockV2
from dlcore.models.torch_weights import fill_from_torch
from dlcore.nn import Conv, LayerNorm
from dlcore.nn.activations import leaky_relu
from dlcore.nn.precision import compute_dtype
from dlcore.ops.pixel_shuffle import pixel_shuffle
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.resize import resize

__all__ = ["MODELS", "Swin2SR", "Upsampler", "example_inputs", "from_torch_names"]

MEAN = (0.4488, 0.4371, 0.4040)
"""Mean colors of DIV2K, which are subtracted from images of three channels."""
UNITS = 64
"""Channels of the upsampler."""


class Upsampler(nn.Module):
    """Make the image of a map: [B, H, W, D] -> [B, upscale H, upscale W, C].

    Args:
      channels: C.
      upscale: factor of the sides.
      kind: pixelshuffle, pixelshuffledirect, nearest+conv, or none: one convolution.
    """

    channels: int
    upscale: int
    kind: str
    dtype: Any = None

    @nn.compact
    def __call__(self, y: jax.Array) -> jax.Array:
        """Enlarge a map.

        Args:
          y: [B, H, W, D].

        Returns:
          [B, upscale H, upscale W, C].
        """
        conv = functools.partial(Conv, kernel_size=(3, 3), padding=1, dtype=self.dtype)
        if self.kind == "none":
            return conv(self.channels, name="residual")(y)
        if self.kind == "pixelshuffledirect":
            return pixel_shuffle(conv(self.upscale**2 * self.channels, name="conv")(y), self.upscale)
        y = leaky_relu(conv(UNITS, name="conv_before_upsample")(y))
        if self.kind == "nearest+conv":
            for name in ("conv_up1", "conv_up2"):
                y = resize(y, (2 * y.shape[1], 2 * y.shape[2]), "nearest")
                y = leaky_relu(conv(UNITS, name=name)(y), 0.2)
            y = leaky_relu(conv(UNITS, name="conv_hr")(y), 0.2)
        elif self.upscale == 3:
            y = pixel_shuffle(conv(9 * UNITS, name="upsample_convolution")(y), 3)
        else:
            for i in range(self.upscale.bit_length() - 1):
                y = pixel_shuffle(conv(4 * UNITS, name=f"upsample_convolution_{i}")(y), 2)
        return conv(self.channels, name="final_convolution")(y)


class Swin2SR(CheckedFields):
    """Restore images: [B, H, W, C] in [0, 1] -> [B, upscale H, upscale W, C'], in [0, 1] up to the network's error.

    Args:
      channels: C.
      out_channels: C'.
      patch_size: side of a patch.
      width: channels of a patch.
      stages: blocks of each residual group.
      num_heads: attention heads of each group's blocks.
      window_size: side of the windows, in patches; sides of images are padded to its multiples by reflection.
      shift: whether every other block shifts its windows by half of their side.
      mlp_ratio: hidden units of a block's perceptron, as a multiple of the width.
      upscale: factor of the sides.
      upsampler: pixelshuffle, pixelshuffledirect, nearest+conv, or none, a convolution whose output is added to the
        image; None leaves it out, and a call gives what it would read.
      group_conv: the convolution behind a group: 1conv, or 3conv with a quarter of the channels inside.
      image_range: r, by which images are multiplied.
      drop_path: probability of dropping a branch of the last block in training, rising from 0.
    """

    channels: Annotated[int, Range(1)] = 3
    out_channels: Annotated[int, Range(1)] = 3
    patch_size: Annotated[int, Range(1)] = 1
    width: Annotated[int, Range(1)] = 180
    stages: tuple[int, ...] = (6, 6, 6, 6, 6, 6)
    num_heads: tuple[int, ...] = (6, 6, 6, 6, 6, 6)
    window_size: Annotated[int, Range(1)] = 8
    shift: bool = True
    mlp_ratio: Annotated[float, Range(0)] = 2.0
    upscale: Annotated[int, Range(1)] = 2
    upsampler: Literal["pixelshuffle", "pixelshuffledirect", "nearest+conv", "none"] | None = "pixelshuffle"
    group_conv: Literal["1conv", "3conv"] = "1conv"
    image_range: float = 1.0
    drop_path: Annotated[float, Range(0, 1)] = 0.1
    dtype: Any = None

    def setup(self):
        """Build the upsampler."""
        if self.upsampler is not None:
            self.upsample = Upsampler(self.out_channels, self.upscale, self.upsampler, self.dtype)

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Restore images.

        Args:
          x: [B, H, W, C], in [0, 1].
          train: drop branches, which needs the rng "dropout".

        Returns:
          [B, upscale H, upscale W, C'], at least float32.
        """
        if self.upsampler is None:
            return self.features(x, train)
        height, width = x.shape[1:3]
        y = self.upsample(self.features(x, train))[:, : self.upscale * height, : self.upscale * width]
        y = y / self.image_range + self._mean(y.dtype)
        return to_acc_dtype(x + y if self.upsampler == "none" else y)

    @nn.compact
    def features(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Compute what the upsampler reads: [B, H, W, C] -> [B, H', W', width], of the padded image."""
        dtype = compute_dtype(self.dtype, x, self.variables)
        conv = functools.partial(Conv, padding=1, dtype=dtype)
        patches = functools.partial(Conv, self.width, (self.patch_size,) * 2, self.patch_size, padding=0, dtype=dtype)
        pad = [(0, -side % self.window_size) for side in x.shape[1:3]]
        x = jnp.pad(x, ((0, 0), *pad, (0, 0)), "reflect")
        first = conv(self.width, (3, 3), name="first_convolution")((x - self._mean(x.dtype)) * self.image_range)
        x = LayerNorm(dtype=dtype, name="patch_norm")(patches(name="patch_projection")(first))
        rates = iter(np.linspace(0, self.drop_path, sum(self.stages)).tolist())
        for i, (depth, heads) in enumerate(zip(self.stages, self.num_heads, strict=True)):
            y = x
            for j in range(depth):
                y = SwinBlockV2(
                    num_heads=heads,
                    window_size=self.window_size,
                    shift=self.window_size // 2 if j % 2 and self.shift else 0,
                    hidden=int(self.mlp_ratio * self.width),
                    drop_path=next(rates),
                    dtype=dtype,
                    always_shift=True,
                    name=f"stages_{i}_layers_{j}",
                )(y, train)
            # A convolution behind the blocks, then the residual connection of the group.
            if self.group_conv == "1conv":
                y = conv(self.width, (3, 3), name=f"stages_{i}_conv")(y)
            else:
                y = leaky_relu(conv(self.width // 4, (3, 3), name=f"stages_{i}_conv_0")(y), 0.2)
                y = leaky_relu(Conv(self.width // 4, (1, 1), dtype=dtype, name=f"stages_{i}_conv_2")(y), 0.2)
                y = conv(self.width, (3, 3), name=f"stages_{i}_conv_4")(y)
            x = x + patches(name=f"stages_{i}_patch_projection")(y)
        x = LayerNorm(dtype=dtype, name="layernorm")(x)
        return conv(self.width, (3, 3), name="conv_after_body")(x) + first

    @nn.nowrap
    def _mean(self, dtype: Any) -> jax.Array:
        return jnp.asarray(MEAN if self.channels == self.out_channels == 3 else 0.0, dtype)


TORCH_NAMES = (
    (r"^stages\.(\d+)_patch_projection\.", r"encoder.stages.\1.patch_embed.projection."),
    (r"^stages\.(\d+)_", r"encoder.stages.\1."),
    (r"^patch_projection\.", "embeddings.patch_embeddings.projection."),
    (r"^patch_norm\.", "embeddings.patch_embeddings.layernorm."),
    *swin_v2.TORCH_LAYOUTS[0].names,
    (r"^upsample\.upsample_convolution\.(\d)\.", r"upsample.upsample.convolution_\1."),
    (r"^upsample\.upsample_", "upsample.upsample."),
    (r"^upsample\.residual\.", "final_convolution."),
)

MODELS = {
    "swin2sr_classical_x2": Swin2SR,
    "swin2sr_classical_x4": functools.partial(Swin2SR, upscale=4),
    "swin2sr_lightweight_x2": functools.partial(
        Swin2SR, width=60, stages=(6,) * 4, num_heads=(6,) * 4, upsampler="pixelshuffledirect"
    ),
    "swin2sr_realworld_x4": functools.partial(Swin2SR, upscale=4, upsampler="nearest+conv"),
}


def example_inputs(model: Swin2SR) -> tuple[jax.Array]:
    """Build inputs that initialize a network.

    Args:
      model: model of `MODELS`.

    Returns:
      (an image [1, H, W, C],).
    """
    side = model.window_size * model.patch_size
    return (jnp.zeros((1, side, side, model.channels)),)


def from_torch_names(model: Swin2SR, state_dict: Mapping[str, Any]) -> Any:
    """Convert a state dict of transformers to the variables of a network.

    Args:
      model: model of `MODELS`.
      state_dict: {name: array}.

    Returns:
      {"params": ...}.
    """
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *example_inputs(model)))
    ignored = swin_v2.TORCH_LAYOUTS[0].ignored
    return fill_from_torch(
        shapes, state_dict, TORCH_NAMES, what="Swin2SR", older=((r"^swin2sr\.", ""),), optional=ignored
    )
