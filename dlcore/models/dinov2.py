"""DINOv2: a ViT with layer scale, whose features need no further training.

Oquab et al., "DINOv2: Learning robust visual features without supervision" (2023), arXiv:2304.07193; with registers,
Darcet et al., "Vision transformers need registers" (2023), arXiv:2309.16588.

It is `dlcore.models.vit`, published without a head: a call gives the class token after the last norm, and `tokens` all
of them. With `num_classes` a linear head reads the class token (timm), or that and the mean over patches
(`pool="token_mean"`, transformers' classifier).
`load_torch` takes the state dict of transformers' Dinov2Model and Dinov2WithRegistersModel, of facebook's and timm's.
Published sizes are ViT-S/14, B/14, L/14 and g/14 for images of 518 pixels, g with `swiglu` and `mlp_features=4096`,
each without and with 4 registers; positions are interpolated for other images.
"""

import functools
import re
from collections.abc import Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models.torch_weights import fill_from_torch
from dlcore.models.vit import ViT
from dlcore.models.weight_files import unwrap_state_dict

__all__ = ["MODELS", "DINOv2", "example_inputs", "from_torch_names"]


class DINOv2(ViT):
    """A ViT on [B, H, W, C], sides multiples of P = patch_size.

    All fields of `ViT`.

    Args:
      num_classes: number of classes; 0: no head, a call gives what it would see.
      pool: what a head sees: token, the class token, or token_mean, the class token and the mean over patches.
      image_size: side in pixels of the square images whose position table is learned; it is interpolated for others.
      layer_scale: initial factor of each channel of a block's branches.
      swiglu: gate the MLPs: W_2 (silu(W_g x) W_1 x), each of mlp_features units.
      num_registers: R, learned tokens behind the class token, without positions; patches are read beside them.
      antialias_positions: interpolate positions with antialias, as transformers with registers and timm do.
      linear_positions: interpolate them bilinearly, as TIPS v2 does, not bicubically.
    """

    num_classes: int = 0
    image_size: int = 518
    patch_size: int = 14
    layer_scale: float | None = 1.0
    swiglu: bool = False
    num_registers: Annotated[int, Range(0)] = 0
    antialias_positions: Annotated[bool, "if changed"] = False
    linear_positions: Annotated[bool, "if changed"] = False

    pools = ("token", "token_mean")
    moves_token = False

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        return self._encode(x, train, {"cls_token": self.INITS["token"]})

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        token, patches = x[:, 0], x[:, 1 + self.num_registers :]
        return self._classify(token if self.pool == "token" else jnp.concatenate([token, patches.mean(1)], -1), "head")

    def tokens(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Describe patches.

        Returns:
          [B, 1 + R + N, width], after the last norm, the class token first, then the registers.
        """
        return self._tokens(x, train)

    @nn.compact
    def _tokens(self, x: jax.Array, train: bool) -> jax.Array:
        return self._stages(x, train)[0]


TORCH_NAMES = (
    (r"^(cls_token|register_tokens)", r"embeddings.\1"),
    (r"^pos_embed\.weight", "embeddings.position_embeddings"),
    (r"^patch_embed\.", "embeddings.patch_embeddings.projection."),
    (r"^norm\.", "layernorm."),
    (r"^head\.", "classifier."),
    (r"^blocks\.", "encoder.layer."),
    (r"\.layer_scale(\d)$", r".layer_scale\1.lambda1"),
    (r"\.attn\.proj\.", ".attention.o_proj."),
    (r"^(.*)\.attn\.qkv\.(.*)", r"\1.attention.q_proj.\2 + \1.attention.k_proj.\2 + \1.attention.v_proj.\2"),
)
FACEBOOK_NAMES = (
    (r"^blocks\.\d+\.(?=\d+\.)", "blocks."),
    (r"^reg_token$", "register_tokens"),
    (r"^(cls_token|register_tokens|mask_token)$", r"embeddings.\1"),
    (r"^pos_embed$", "embeddings.position_embeddings"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^blocks\.", "encoder.layer."),
    (r"^norm\.", "layernorm."),
    (r"^head\.", "classifier."),
    (r"\.ls(\d)\.gamma$", r".layer_scale\1.lambda1"),
    (r"\.attn\.proj\.", ".attention.o_proj."),
    (r"\.mlp\.w12\.", ".mlp.weights_in."),
    (r"\.mlp\.w3\.", ".mlp.weights_out."),
)
"""What turns the names of facebook's and timm's files into transformers'."""
TORCH_OLD_NAMES = (
    *FACEBOOK_NAMES,
    (r"^dinov2(_with_registers)?\.", ""),
    (r"\.mlp\.(weights_out|down_proj)\.", ".mlp.fc2."),
    (r"\.mlp\.gate_proj\.", ".mlp.gate."),
    (r"\.mlp\.up_proj\.", ".mlp.fc1."),
    (r"\.attention\.attention\.(q|k|v)(?:uery|ey|alue)\.", r".attention.\1_proj."),
    (r"\.attention\.output\.dense\.", ".attention.o_proj."),
)
TORCH_IGNORED = r"mask_token$"


def from_torch_names(model: DINOv2, state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the state dict of transformers' Dinov2Model or Dinov2WithRegistersModel, facebook's or timm's.

    The mask token of its training is left out; the model has the image size of the table of positions.
    """
    entries = {}
    for name, value in unwrap_state_dict(state_dict).items():
        if not re.search(TORCH_IGNORED, name):
            for pattern, replacement in TORCH_OLD_NAMES:
                name = re.sub(pattern, replacement, name)
            packed = model.swiglu and ".mlp.fc1." in name and len(value) == 2 * model.mlp_features  # timm's
            if ".mlp.weights_in." in name or packed:
                for layer, part in zip(("gate", "fc1"), np.split(np.asarray(value), 2), strict=True):
                    entries[re.sub(r"weights_in|fc1", layer, name)] = part
                continue
            if (
                name == "embeddings.position_embeddings"
                and value.shape[1] == (model.image_size // model.patch_size) ** 2
            ):
                value = np.pad(value, ((0, 0), (1, 0), (0, 0)))  # timm adds none to the class token
            if ".attn.qkv." in name:
                for layer, part in zip("qkv", np.split(np.asarray(value), 3), strict=True):
                    entries[name.replace("attn.qkv", f"attention.{layer}_proj")] = part
                continue
            entries[name] = value
    images = jnp.zeros((1, model.image_size, model.image_size, 3))
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), images))
    return fill_from_torch(shapes, entries, TORCH_NAMES, what="DINOv2")


def example_inputs(model: DINOv2) -> tuple[jax.Array]:
    """Build (an image [1, H, W, 3],)."""
    return (jnp.zeros((1, model.image_size, model.image_size, 3)),)


_SIZES = {
    "small": {"width": 384, "num_heads": 6, "mlp_features": 1536},
    "base": {"width": 768, "num_heads": 12, "mlp_features": 3072},
    "large": {"width": 1024, "depth": 24, "num_heads": 16, "mlp_features": 4096},
    "giant": {"width": 1536, "depth": 40, "num_heads": 24, "mlp_features": 4096, "swiglu": True},
}
MODELS = {
    **{f"dinov2_{size}": functools.partial(DINOv2, **fields) for size, fields in _SIZES.items()},
    **{
        f"dinov2_with_registers_{size}": functools.partial(DINOv2, num_registers=4, antialias_positions=True, **fields)
        for size, fields in _SIZES.items()
    },
}
