"""SigLIP 2 with native aspect ratio (NaFlex): a SigLIP whose images keep their proportions and have a grid each.

Tschannen et al., "SigLIP 2: multilingual vision-language encoders" (2025), arXiv:2502.14786; the packing of patches is
that of NaViT, Dehghani et al. 2023, arXiv:2307.06304.

    image    an image of h x w patches is a sequence of h w patches, padded to N; a mask hides the padding
             tokens:  W patches + P(h, w), then all of SigLIP, whose query attends to what the mask shows
    P(h, w)  R(h) P C(w)^T: the learned S x S table, resized to h x w
             R(h)[i, k] = max(0, 1 - |k - c_i| / s) / sum over k,   c_i = (i + 1/2) S / h - 1/2,   s = max(1, S / h)

R and C are bilinear interpolation with antialias. They follow from the traced (h, w), so one compiled program reads
images of all grids. Texts and scores are those of `dlcore.models.clip.SigLIP`; `dlcore.pretrained.packing` packs
a photograph. `load_torch` takes the state dict of transformers' Siglip2Model, such as that of
`google/siglip2-base-patch16-naflex`. Deviation: images without any patch are refused where their grids are concrete.
"""

import functools
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.models import clip
from dlcore.models.inputs import PackedImages
from dlcore.nn import Dense
from dlcore.nn.embed import Embed
from dlcore.ops.precision import to_acc_dtype

__all__ = ["MODELS", "SigLIP2", "example_inputs", "from_torch_names", "positions_of_grids"]

CHANNELS = 3


def positions_of_grids(table: jax.Array, spatial_shapes: jax.Array, length: int) -> jax.Array:
    """Resize a table of positions to the grid of each image, bilinearly with antialias.

    Args:
      table: [S, S, D].
      spatial_shapes: [B, 2] int, (rows, columns) of patches, at most `length` in all; it may be traced.
      length: N, tokens of each image.

    Returns:
      [B, N, D], at least float32: the grid's positions in row order; padding has the first one. NaN for a grid that
      has no patch, or more than N.
    """
    table = to_acc_dtype(table)
    source = jnp.arange(len(table), dtype=table.dtype)

    def weights(index: jax.Array, size: jax.Array) -> jax.Array:
        ratio = len(table) / size.astype(table.dtype)
        center = (index.astype(table.dtype) + 0.5) * ratio - 0.5
        triangle = jnp.maximum(1 - jnp.abs(source - center[:, None]) / jnp.maximum(ratio, 1), 0)
        return triangle / triangle.sum(-1, keepdims=True)

    def resize(shape: jax.Array) -> jax.Array:
        rows, columns = shape[0], shape[1]
        token = jnp.arange(length)
        token = jnp.where(token < rows * columns, token, 0)
        by_row, by_column = weights(token // columns, rows), weights(token % columns, columns)
        pairs = (by_row[:, :, None] * by_column[:, None]).reshape(length, -1)
        resized = jnp.matmul(pairs, table.reshape(-1, table.shape[-1]), precision=jax.lax.Precision.HIGHEST)
        fits = (rows > 0) & (columns > 0) & (rows * columns <= length)
        return jnp.where(fits, resized, jnp.nan)

    return jax.vmap(resize)(spatial_shapes)


class SigLIP2(clip.SigLIP):
    """A SigLIP of `PackedImages`: (images, tokens [B, T]) -> vectors of length 1, and the scale.

    All fields of `dlcore.models.clip.SigLIP`; `crop_rest` is not used.

    Args:
      image_size: side in pixels of the square image whose patches the table of positions has; images may have other
        sizes.
      patch_size: P, side in pixels of a patch; divides the image's.
    """

    image_size: int = 256
    patch_size: int = 16

    @nn.nowrap
    def _patch_layers(self, prefix: int) -> None:
        self.patch_embed = Dense(self.vision_width, dtype=self.dtype)
        init = nn.initializers.normal(self.vision_width**-0.5)
        side = self.image_size // self.patch_size
        self.vision_positions = Embed(side * side, self.vision_width, embedding_init=init)

    @nn.nowrap
    def _example_images(self) -> PackedImages:
        side = self.image_size // self.patch_size
        pixels = jnp.zeros((1, side * side, CHANNELS * self.patch_size**2))
        return PackedImages(pixels, jnp.ones((1, side * side), bool), jnp.full((1, 2), side, jnp.int32))

    def image_tokens(self, images: PackedImages) -> jax.Array:
        """Read images.

        Args:
          images: B images of N patches.

        Returns:
          [B, N, width], of the last block; padding gives tokens too, which no patch sees.
        """
        images = PackedImages(*map(jnp.asarray, images))
        _check_images(images, CHANNELS * self.patch_size**2)
        x, side = self.patch_embed(images.pixel_values), self.image_size // self.patch_size
        table = self.vision_positions.embedding.reshape(side, side, -1)
        x = x + positions_of_grids(table, images.spatial_shapes, x.shape[1]).astype(x.dtype)
        for block in self.vision_blocks:
            x = block(x, False, _key_mask(images))
        return x

    def describe_image(self, images: PackedImages) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Describe images before the shared space, as transformers' image towers do.

        Args:
          images: B images of N patches.
        """
        return self._pooled(self.image_tokens(images), _key_mask(images))


def _key_mask(images: PackedImages) -> jax.Array:
    """[B, 1, 1, N], True where there is a patch."""
    return jnp.asarray(images.pixel_attention_mask)[:, None, None].astype(bool)


def _check_images(images: PackedImages, features: int) -> None:
    pixels, mask, shapes = images
    if pixels.ndim != 3 or pixels.shape[-1] != features:
        raise ValueError(f"pixel_values.shape={pixels.shape}: no patches; allowed: [B, N, {features}]")
    if mask.shape != pixels.shape[:2]:
        raise ValueError(f"pixel_attention_mask.shape={mask.shape}: does not fit; allowed: {pixels.shape[:2]}")
    if shapes.shape != (len(pixels), 2) or not jnp.issubdtype(shapes.dtype, jnp.integer):
        raise ValueError(f"spatial_shapes={shapes.dtype}{list(shapes.shape)}: no grids; allowed: int [B, 2]")
    if isinstance(shapes, jax.core.Tracer) or isinstance(mask, jax.core.Tracer):
        return
    length = pixels.shape[1]
    for i, ((rows, columns), row) in enumerate(zip(np.asarray(shapes).tolist(), np.asarray(mask, bool), strict=True)):
        if min(rows, columns) < 1 or rows * columns > length:
            raise ValueError(f"spatial_shapes[{i}]={(rows, columns)}: does not fit {length} patches; allowed: from 1")
        if not row[: rows * columns].any() or row[rows * columns :].any():
            raise ValueError(f"pixel_attention_mask[{i}]: does not fit its grid; allowed: {rows * columns} patches")


from_torch_names = clip.from_torch_names


example_inputs = clip.example_inputs


def _siglip2(depth: int, width: int, heads: int, **fields: Any) -> functools.partial:
    sizes = {f"{part}_depth": depth for part in ("vision", "text")}
    sizes |= {f"{part}_width": width for part in ("vision", "text")}
    sizes |= {f"{part}_heads": heads for part in ("vision", "text")}
    return functools.partial(SigLIP2, vocab_size=256_000, end_token=1, window=64, **sizes, **fields)


MODELS = {
    "siglip2_base_patch16_naflex": _siglip2(12, 768, 12),
    "siglip2_so400m_patch16_naflex": _siglip2(27, 1152, 16, mlp_features=4304),
}
