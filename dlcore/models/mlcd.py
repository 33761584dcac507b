"""MLCD: a ViT whose attention turns queries and keys by row and column, the class token by angles that are learned.

An et al., "Multi-label cluster discrimination for visual representation learning" (2024), arXiv:2407.17331.

    z = LN([class token; patches E]),  then the encoder of `dlcore.models.vit`
    a head's pairs i < D / 4 of a patch turn by row / 10000^(4 i / D), the others by column; of the class token by a_i

Published without a head: a call gives LN(class token). Weights are those of transformers' MLCDVisionModel.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.models import clip
from dlcore.models.general_vit import GeneralViT
from dlcore.nn.rotary import Pairs

__all__ = ["MLCD", "MODELS"]

TORCH_NAMES = (
    (r"^cls_token$", "embeddings.class_embedding"),
    (r"^patch_embed\.", "embeddings.patch_embedding."),
    (r"^norm_pre\.", "pre_layrnorm."),
    (r"^blocks\.", "encoder.layers."),
    *clip.LAYER_NAMES,
    (r"^fc_norm\.", "post_layernorm."),
)
TORCH_OLD_NAMES = ((r"^vision_model\.", ""),)


def from_torch(path: str, value: Any, shape: tuple[int, ...]) -> Any:
    """Give the class token its leading axes."""
    return value.reshape(shape) if path.endswith("/cls_token") else None


class MLCD(GeneralViT):
    """An MLCD on [B, H, W, C]; stages are those of `ViT`.

    All fields of `GeneralViT`.

    Args:
      num_classes: number of classes, the length of the logits; 0, as published: no head.
    """

    num_classes: int = 0
    positions: Any = "none"
    pre_norm: bool = True
    last_norm: Any = "pooled"
    rotary: Any = "rows"
    rotary_pairs: Pairs = "halves"
    epsilon: float = 1e-5

    @nn.compact
    def all_tokens(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Describe images and their patches.

        Args:
          x: [B, H, W, C], images.

        Returns:
          (tokens [B, 1 + N, width], the class token first, and that token after the last norm [B, width]).
        """
        x, _ = self._stages(x, False)
        return x, self._head(x, False)

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        self.param("class_pos_emb", nn.initializers.normal(1.0), (1, self.width // self.num_heads // 2))
        return super()._stages(x, train)

    def _relation(self, i: int, grid: tuple[int, int]) -> dict[str, jax.Array]:
        angles = super()._relation(i, grid)["angles"]
        of_token = self.get_variable("params", "class_pos_emb")[:, None]
        return {"angles": jnp.concatenate([of_token.astype(angles.dtype), angles])}


MODELS = {
    "mlcd_vit_bigg_patch14_336": functools.partial(
        MLCD, image_size=336, patch_size=14, depth=48, width=1664, num_heads=16, mlp_features=8192
    )
}
INPUT_SHAPES = {"mlcd_vit_bigg_patch14_336": (336, 336, 3)}
