"""DETR and YOLOS of transformers: a set of boxes by queries."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from dlcore.models.pretrained.families.resnet import backbone_of
from dlcore.models.pretrained.family import Family, check_config

__all__ = ["FAMILIES"]


def _detr(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    backbone = backbone_of(config)
    return "detr_resnet50", {
        "backbone": backbone,
        "stage": f"layer{len(backbone.stages)}",
        "num_classes": len(config["id2label"]),
        "num_queries": config["num_queries"],
        "features": config["d_model"],
        "num_heads": config["encoder_attention_heads"],
        "hidden_features": config["encoder_ffn_dim"],
        "encoder_layers": config["encoder_layers"],
        "decoder_layers": config["decoder_layers"],
    }


def _boxes(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    sizes, mask = None, inputs.get("pixel_mask")
    if mask is not None:
        sizes = jnp.stack([mask.max(2).sum(1), mask.max(1).sum(1)], -1)  # [B, 2], height and width
    outputs, _ = model.apply(variables, inputs["pixel_values"], sizes)
    return {"logits": outputs.logits[:, -1], "pred_boxes": outputs.boxes[:, -1]}


def _yolos(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, {"hidden_act": "gelu", "qkv_bias": True}, "dlcore's YOLOS")
    height, width = config["image_size"]
    return "yolos_small", {
        "num_classes": len(config["id2label"]),
        "image_size": (height, width),
        "patch_size": config["patch_size"],
        "depth": config["num_hidden_layers"],
        "width": config["hidden_size"],
        "num_heads": config["num_attention_heads"],
        "mlp_features": config["intermediate_size"],
        "num_queries": config["num_detection_tokens"],
        "mid_positions": config.get("use_mid_position_embeddings", True),
        "epsilon": config["layer_norm_eps"],
    }


def _set(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """Boxes in shares of the whole array: transformers' YOLOS reads no mask of padding."""
    outputs, _ = model.apply(variables, inputs["pixel_values"])
    return {"logits": outputs.logits[:, -1], "pred_boxes": outputs.boxes[:, -1]}


FAMILIES = (
    Family("transformers", ("YolosForObjectDetection",), _yolos, _set, ("pixel_values", "pixel_mask"), "detection"),
    Family("transformers", ("DetrForObjectDetection",), _detr, _boxes, ("pixel_values", "pixel_mask"), "detection"),
)
