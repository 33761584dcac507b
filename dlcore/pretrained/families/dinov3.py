"""DINOv3 of transformers: ViTs and ConvNeXts."""

from collections.abc import Mapping
from typing import Any

from dlcore.pretrained.families.dinov2 import encoder
from dlcore.pretrained.families.vit import block_fields
from dlcore.pretrained.family import Family, check_config

__all__ = ["FAMILIES"]


def _vit(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    if config.get("rope_theta", 100.0) != 100.0 or config.get("key_bias"):
        raise ValueError("rope_theta, key_bias: not in dlcore's DINOv3; allowed: rope_theta=100 and key_bias=false")
    activation = "silu" if config["use_gated_mlp"] else "gelu"
    check_config(config, {"hidden_act": activation}, "dlcore's DINOv3")
    return "dinov3_vitb16", {
        "num_classes": 0,
        "image_size": config["image_size"],
        "patch_size": config["patch_size"],
        **block_fields(config),
        "swiglu": config["use_gated_mlp"],
        "num_registers": config["num_register_tokens"],
        "qkv_bias": config["query_bias"],
        "epsilon": config["layer_norm_eps"],
    }


def _convnext(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, {"hidden_act": "gelu", "layer_norm_eps": 1e-6}, "dlcore's DINOv3")
    return "dinov3_convnext_tiny", {
        "num_classes": 0,
        "stages": tuple(config["depths"]),
        "widths": tuple(config["hidden_sizes"]),
    }


FAMILIES = (
    Family("transformers", ("DINOv3ViTModel",), _vit, encoder, kind="encoder"),
    Family("transformers", ("DINOv3ConvNextModel",), _convnext, encoder, kind="encoder"),
)
