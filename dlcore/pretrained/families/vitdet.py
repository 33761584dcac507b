"""ViTDet's backbone of transformers."""

from collections.abc import Mapping
from typing import Any

from dlcore.pretrained.family import Family, check_config

__all__ = ["FAMILIES"]

FIXED = {"hidden_act": "gelu", "layer_norm_eps": 1e-6, "qkv_bias": True, "use_absolute_position_embeddings": True}
"""What dlcore's network has, where a configuration may say otherwise."""


def _vitdet(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, FIXED, "dlcore")
    depth, width = config.get("num_hidden_layers", 12), config.get("hidden_size", 768)
    # A window of 0 stands for attention everywhere.
    in_windows = config.get("window_block_indices", ()) if config.get("window_size", 0) else ()
    return "vitdet_b", {
        "num_classes": 0,
        "image_size": config.get("image_size", 224),
        "pretrain_size": config.get("pretrain_image_size", 224),
        "patch_size": config.get("patch_size", 16),
        "depth": depth,
        "width": width,
        "num_heads": config.get("num_attention_heads", 12),
        "mlp_features": int(width * config.get("mlp_ratio", 4)),
        "window_size": config.get("window_size", 0),
        "global_blocks": tuple(i for i in range(depth) if i not in in_windows),
        "residual_blocks": tuple(config.get("residual_block_indices", ())),
        "relative_positions": config.get("use_relative_position_embeddings", False),
        "drop_path": config.get("drop_path_rate", 0.0),
    }


def _maps(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    maps = model.apply(variables, inputs["pixel_values"], method="features")
    return {"last_hidden_state": maps[f"block{model.depth}"]}


FAMILIES = (Family("transformers", ("VitDetModel", "VitDetBackbone"), _vitdet, _maps),)
