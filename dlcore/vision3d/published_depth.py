"""Published networks of depth by name: `create_model` and `load_torch` of `dlcore.models` know them."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.models.mit import MODELS as ENCODERS
from dlcore.models.torch_weights import fill_from_torch
from dlcore.vision3d.binned_dpt import BinnedDPT, ReadoutDINOv2, ReadoutDINOv3
from dlcore.vision3d.dpt import DPT, ClassTokenViT, NormalizedDINOv2
from dlcore.vision3d.glpn import GLPN
from dlcore.vision3d.zoe_depth import ClassTokenBEiT, ZoeDepth

__all__ = ["MODELS", "example_inputs", "from_torch_names"]


def _depth_anything(width: int, heads: int, blocks: tuple[int, ...], channels: tuple[int, ...], features: int):
    encoder = NormalizedDINOv2(width=width, num_heads=heads, mlp_features=4 * width, depth=blocks[-1])
    stages = tuple(f"block{block}" for block in blocks)
    return functools.partial(
        DPT, backbone=encoder, stages=stages, channels=channels, features=features, image_sized=True
    )


_LARGE = ClassTokenViT(
    num_classes=0, image_size=384, width=1024, depth=24, num_heads=16, mlp_features=4096, epsilon=1e-12
)
MODELS = {
    "depth_anything_small": _depth_anything(384, 6, (9, 10, 11, 12), (48, 96, 192, 384), 64),
    "depth_anything_base": _depth_anything(768, 12, (9, 10, 11, 12), (96, 192, 384, 768), 128),
    "depth_anything_large": _depth_anything(1024, 16, (21, 22, 23, 24), (256, 512, 1024, 1024), 256),
    "dpt_large": functools.partial(
        DPT,
        backbone=_LARGE,
        stages=("block6", "block12", "block18", "block24"),
        channels=(256, 512, 1024, 1024),
        readout="project",
    ),
    "tips_v2_b_14_depth": functools.partial(
        BinnedDPT,
        backbone=ReadoutDINOv2(image_size=448, num_registers=1, antialias_positions=True, linear_positions=True),
    ),
    "chm_v2_vitl16": functools.partial(
        BinnedDPT,
        backbone=ReadoutDINOv3(
            image_size=416, width=1024, depth=24, num_heads=16, mlp_features=4096, epsilon=1e-6, key_bias=True
        ),
        stages=("block6", "block12", "block18", "block24"),
        channels=(128, 256, 512, 1024),
        head_features=128,
        max_depth=12.0,
        bins="mixed",
        floor=1e-8,
        factor=8.0,
    ),
    "glpn": functools.partial(GLPN, backbone=ENCODERS["mit_b4"](num_classes=0)),
    "zoe_depth": functools.partial(
        ZoeDepth,
        backbone=ClassTokenBEiT(
            num_classes=0, pool="none", image_size=384, width=1024, depth=24, num_heads=16, mlp_features=4096
        ),
        stages=("block6", "block12", "block18", "block24"),
        channels=(256, 512, 1024, 1024),
    ),
}


def example_inputs(model: nn.Module) -> tuple[jax.Array]:
    """Build inputs that initialize a network.

    Args:
      model: model of `MODELS`.

    Returns:
      (an image [1, H, W, 3],).
    """
    side = model.backbone.image_size if isinstance(model, DPT | BinnedDPT | ZoeDepth) else 64
    return (jnp.zeros((1, side, side, 3)),)


def from_torch_names(model: nn.Module, state_dict: Mapping[str, Any]) -> Any:
    """Convert a state dict of transformers to the variables of a network.

    Args:
      model: model of `MODELS`.
      state_dict: {name: array}.

    Returns:
      {"params": ..., "batch_stats": ...}.

    Raises:
      ValueError: entries are missing, left over or of a wrong shape; they are listed by name.
    """
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *example_inputs(model)))
    return fill_from_torch(
        shapes,
        state_dict,
        model.TORCH_NAMES,
        what=type(model).__name__,
        older=model.TORCH_OLD_NAMES,
        optional=model.TORCH_OPTIONAL,
    )
