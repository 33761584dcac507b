"""The image tower of Llama 4: a ViT with rotary positions, whose patches a shuffle and an MLP join four by four.

Meta AI, "The Llama 4 herd" (2025), which has no paper; the parts are those of `dlcore.models.vision_tower`.

    z = LN([class token; patches E] + P),   z = LN(blocks(z))       pairs turn by column + 1, then by row + 1
    tokens = gelu(W_2 gelu(W_1 [2 x 2 neighbors of z without the class token]))

The published class token stands behind the patches; attention sees no order, so here it stands before them. Weights are
those of transformers' Llama4VisionModel, that of `meta-llama/Llama-4-Scout-17B-16E`.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.models.fields import CheckedFields
from dlcore.models.torch_weights import fill_from_torch
from dlcore.models.vision_tower import Projector, VisionTower
from dlcore.models.weight_files import unwrap_state_dict

__all__ = ["MODELS", "Llama4Tower", "example_inputs", "from_torch_names"]


class Llama4Tower(CheckedFields):
    """Tokens of square images [B, H, W, C].

    Args:
      tower: the vision transformer.
      projector: joins its patches.
    """

    tower: VisionTower
    projector: Projector

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Describe images.

        Args:
          x: [B, H, W, C], images.
          train: unused, as nothing drops.

        Returns:
          [B, N / s^2, features] of N patches and the projector's shuffle s.
        """
        rows, columns = (side // self.tower.patch_size for side in x.shape[1:3])
        return nn.gelu(self.projector(self.tower(x), (rows, columns)), approximate=False)


TORCH_NAMES = (
    (r"^tower\.cls_token$", "class_embedding"),
    (r"^tower\.pos_embed\.weight$", "positional_embedding_vlm"),
    (r"^tower\.patch_embed\.", "patch_embedding.linear."),
    (r"^tower\.norm_pre\.", "layernorm_pre."),
    (r"^tower\.norm\.", "layernorm_post."),
    (r"^tower\.blocks\.", "model.layers."),
    (r"\.norm1\.", ".input_layernorm."),
    (r"\.norm2\.", ".post_attention_layernorm."),
    (r"\.attn\.proj\.", ".self_attn.o_proj."),
    (r"^(.*)\.attn\.qkv\.(.*)", r"\1.self_attn.q_proj.\2 + \1.self_attn.k_proj.\2 + \1.self_attn.v_proj.\2"),
    (r"^projector\.", "vision_adapter.mlp."),
)
MODELS = {
    "llama4_vision": functools.partial(
        Llama4Tower,
        tower=VisionTower(
            num_classes=0,
            image_size=336,
            patch_size=14,
            depth=34,
            width=1408,
            num_heads=16,
            mlp_features=5632,
            reads=(34,),
            pre_norm=True,
            rotary="columns",
            rotary_offset=1.0,
            epsilon=1e-5,
        ),
        projector=Projector(hidden_features=4096, shuffle=2, use_bias=False),
    )
}


def example_inputs(model: Llama4Tower) -> tuple[jax.Array]:
    """Build (an image [1, H, W, 3],)."""
    return (jnp.zeros((1, model.tower.image_size, model.tower.image_size, 3)),)


def from_torch_names(model: Llama4Tower, state_dict: Mapping[str, Any]) -> Any:
    """Convert a state dict of transformers' Llama4VisionModel, whose class token is the last."""
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *example_inputs(model)))
    entries = {name: np.asarray(value) for name, value in unwrap_state_dict(state_dict).items()}
    size = (model.tower.patch_size,) * 2
    for name, convert in (
        ("positional_embedding_vlm", lambda x: np.roll(x, 1, 0)),
        ("patch_embedding.linear.weight", lambda x: x.reshape(len(x), -1, *size)),
    ):
        if name in entries:
            entries[name] = convert(entries[name])
    return fill_from_torch(shapes, entries, TORCH_NAMES, what="Llama4Tower")
