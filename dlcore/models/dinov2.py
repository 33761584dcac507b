"""DINOv2: a ViT with layer scale, whose features need no further training.

Oquab et al., "DINOv2: Learning robust visual features without supervision" (2023), arXiv:2304.07193.

It is `dlcore.models.vit` without a head: a call gives the class token after the last norm, and `tokens` all of them.
`load_torch` takes the state dict of transformers' Dinov2Model. Published sizes are ViT-S/14, B/14 and L/14 for images
of 518 pixels; positions are interpolated for others.
"""

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.models.torch_weights import fill_from_torch
from dlcore.models.vit import ViT

__all__ = ["DINOv2", "load_torch"]


class DINOv2(ViT):
    """A ViT without a head, on [B, H, W, C], sides multiples of P = patch_size.

    All fields of `ViT`; those of a head are not used.

    Args:
      num_classes: 0, as there is no head.
      image_size: side in pixels of the square images whose position table is learned; it is interpolated for others.
      patch_size: P, side in pixels of a patch.
      layer_scale: initial factor of each channel of a block's branches.
    """

    num_classes: int = 0
    image_size: int = 518
    patch_size: int = 14
    layer_scale: float | None = 1.0

    @nn.compact
    def _forward(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        tokens, maps = self._encode(x, train, {"cls_token": self.INITS["token"]})
        return tokens, maps

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Describe images.

        Args:
          x: [B, H, W, C], images.
          train: apply dropout, which needs the rng "dropout".

        Returns:
          [B, width], the class token after the last norm.
        """
        return self.tokens(x, train)[:, 0]

    def tokens(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Describe patches.

        Args:
          x: [B, H, W, C], images.
          train: apply dropout, which needs the rng "dropout".

        Returns:
          [B, 1 + N, width], after the last norm, the class token first.
        """
        return self._forward(x, train)[0]


TORCH_NAMES = (
    (r"^cls_token", "embeddings.cls_token"),
    (r"^pos_embed\.weight", "embeddings.position_embeddings"),
    (r"^patch_embed\.", "embeddings.patch_embeddings.projection."),
    (r"^norm\.", "layernorm."),
    (r"^blocks\.", "encoder.layer."),
    (r"\.layer_scale(\d)$", r".layer_scale\1.lambda1"),
    (r"\.attn\.proj\.", ".attention.o_proj."),
    (r"^(.*)\.attn\.qkv\.(.*)", r"\1.attention.q_proj.\2 + \1.attention.k_proj.\2 + \1.attention.v_proj.\2"),
)
TORCH_OLD_NAMES = (
    (r"^dinov2\.", ""),
    (r"\.attention\.attention\.(q|k|v)(?:uery|ey|alue)\.", r".attention.\1_proj."),
    (r"\.attention\.output\.dense\.", ".attention.o_proj."),
)
TORCH_IGNORED = r"mask_token$"


def load_torch(model: DINOv2, state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the state dict of transformers' Dinov2Model.

    Args:
      model: of the same form, with the image size of the table of positions.
      state_dict: {name: array}; the mask token of its training is left out.

    Returns:
      The variables, {"params": ...}.

    Raises:
      ValueError: entries are missing, left over or of a wrong shape; they are listed by name.
    """
    entries = {}
    for name, value in state_dict.items():
        if not re.search(TORCH_IGNORED, name):
            for pattern, replacement in TORCH_OLD_NAMES:
                name = re.sub(pattern, replacement, name)
            entries[name] = value
    images = jnp.zeros((1, model.image_size, model.image_size, 3))
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), images))
    return fill_from_torch(shapes, entries, TORCH_NAMES, what="DINOv2")
