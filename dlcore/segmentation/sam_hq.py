"""Segment Anything in High Quality (SAM-HQ): SAM with one more token, whose mask corrects the boundaries of the others.

Ke et al., "Segment anything in high quality" (2023), arXiv:2306.01567.

    detail   up_4x(z) + up_4x(x),    z: the image's map of SAM, x: the ViT's map after its first block without windows
    mask_m   SAM's mask_m + MLP(token) . (convolutions(upscale(pixels)) + detail)

Weights are those of transformers' SamHQModel (`syscv-community/sam-hq-vit-base`). Its version 5.24 upscales the image's
map as it was before the decoder, rows and columns swapped; this is the paper's, whose pixels have read the prompts.
"""

import functools
from typing import Any

import jax
from flax import linen as nn

from dlcore.nn import ConvTranspose, LayerNorm, gelu
from dlcore.segmentation.sam import SAM

__all__ = ["SAMHQ"]


class Upscale(nn.Module):
    """Two transposed convolutions of stride 2 with a layer norm between.

    Args:
      hidden: channels between the two.
      features: output channels.
    """

    hidden: int
    features: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Enlarge a map: [B, h, w, C] -> [B, 4 h, 4 w, features]."""
        up = functools.partial(ConvTranspose, kernel_size=(2, 2), strides=2, padding=0, dtype=self.dtype)
        x = LayerNorm(1e-6, dtype=self.dtype, name="norm")(up(self.hidden, name="conv1")(x))
        return up(self.features, name="conv2")(gelu(x))


class SAMHQ(SAM):
    """SAM with a token of high quality; fields as of `SAM`."""

    TORCH_NAMES = (
        (r"^(encoder|compress_vit)_up\.", r"mask_decoder.\1_"),
        *SAM.TORCH_NAMES,
        (r"\.hq_token$", ".hq_token.weight"),
    )

    def setup(self) -> None:
        """Create what SAM has, and what makes the map of details."""
        super().setup()
        self.encoder_up = Upscale(self.features // 4, self.features // 8, self.dtype)
        self.compress_vit_up = Upscale(self.features, self.features // 8, self.dtype)

    def encode(self, x: jax.Array) -> tuple[jax.Array, ...]:
        """Compute an image's maps, once for all prompts.

        Args:
          x: [B, S, S, 3], S the encoder's image size.

        Returns:
          (details [B, 4 h, 4 w, D / 8], [B, h, w, D]).
        """
        maps = self.encoder.features(x)
        image = self.neck(maps[f"block{self.encoder.depth}"])
        early = maps[f"block{min(self.encoder.global_blocks) + 1}"]
        return self.encoder_up(image) + self.compress_vit_up(early), image

    def decode(
        self,
        image: tuple[jax.Array, ...],
        points: jax.Array | None = None,
        labels: jax.Array | None = None,
        boxes: jax.Array | None = None,
        masks: jax.Array | None = None,
        has_mask: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Segment what the prompts point at in images whose maps are known.

        Args:
          image: maps of `encode`.
          points: as of `SAM`.
          labels: as of `SAM`.
          boxes: as of `SAM`.
          masks: as of `SAM`.
          has_mask: as of `SAM`.

        Returns:
          As `SAM`.
        """
        detail, image_map = image
        prompts = (points, labels, boxes, masks, has_mask)
        logits, iou, correction = self._decode(image_map, self.positional_embedding, *prompts, detail=detail)
        return logits + correction, iou
