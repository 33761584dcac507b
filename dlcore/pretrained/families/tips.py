"""TIPS v2 of transformers: its two towers, the image's alone, and its networks of depth and segmentation."""

from collections.abc import Mapping
from typing import Any

from dlcore.models.dinov2 import DINOv2
from dlcore.pretrained.families.backbones import FAMILIES as BACKBONES
from dlcore.pretrained.families.dinov2 import dinov2_fields, encoder
from dlcore.pretrained.families.two_towers import pairs
from dlcore.pretrained.family import Family, check_config, square_side
from dlcore.vision3d.binned_dpt import ReadoutDINOv2

__all__ = ["FAMILIES", "tower_fields"]

_BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}


VISION = _BASE | {"mlp_ratio": 4, "hidden_act": "gelu", "layer_norm_eps": 1e-6, "image_size": 448, "patch_size": 14}


VISION |= {"num_register_tokens": 1}


TEXT = _BASE | {"vocab_size": 32000, "intermediate_size": 3072, "max_position_embeddings": 64, "hidden_act": "relu"}


TEXT |= {"layer_norm_eps": 1e-5}
"""What transformers' classes take where a nested configuration leaves a value out."""


def tower_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """Read the image tower: a DINOv2 with registers whose positions are interpolated bilinearly.

    Args:
      config: its configuration.

    Returns:
      Fields of `dlcore.models.dinov2.DINOv2`.
    """
    config = VISION | dict(config)
    check_config(config, {"qkv_bias": True}, "dlcore's TIPS")
    sides = {name: square_side(config[name]) for name in ("image_size", "patch_size")}
    return dinov2_fields(config | sides) | {"linear_positions": True}


def _tower(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return "dinov2_base", tower_fields(config)


BACKBONE = next(family for family in BACKBONES if "Dinov2WithRegistersBackbone" in family.architectures)


def _backbone(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    name, fields = BACKBONE.model(config)
    return name, fields | {"backbone": type(fields["backbone"])(**tower_fields(config))}


def _towers(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    text = TEXT | dict(config.get("text_config") or {})
    image = DINOv2(**tower_fields(config.get("vision_config") or {}))
    check_config(text, {"hidden_size": image.width, "pooling_epsilon": 1e-8}, "dlcore's TIPS")
    return "tips_v2_b_14", {
        "image": image,
        "vocab_size": text["vocab_size"],
        "window": text["max_position_embeddings"],
        "depth": text["num_hidden_layers"],
        "num_heads": text["num_attention_heads"],
        "mlp_features": text["intermediate_size"],
        "activation": text["hidden_act"],
        "epsilon": text["layer_norm_eps"],
        "scales_tokens": text.get("scale_sqrt_depth", True),
        "temperature": config.get("temperature_init_value", 0.005065968260169029),
    }


def _neck(config: Mapping[str, Any]) -> dict[str, Any]:
    backbone = config.get("backbone_config") or {}
    check_config(
        config, {"readout_activation": "gelu_pytorch_tanh", "depth_decoder_activation": "relu"}, "dlcore's TIPS"
    )
    check_config(backbone, {"apply_layernorm": True, "reshape_hidden_states": False}, "dlcore's TIPS")
    return {
        "backbone": ReadoutDINOv2(**tower_fields(backbone)),
        "stages": tuple(f"block{i}" for i in backbone.get("out_indices", (3, 6, 9, 12))),
        "channels": tuple(config.get("neck_hidden_sizes") or (96, 192, 384, 768)),
        "factors": tuple(config.get("reassemble_factors") or (4, 2, 1, 0.5)),
        "features": config.get("fusion_hidden_size", 256),
    }


def _depth(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    low = config.get("min_depth", 0.001)
    bins = {"num_bins": config.get("num_depth_bins", 256), "min_depth": low, "max_depth": config.get("max_depth", 10.0)}
    return "tips_v2_b_14_depth", _neck(config) | bins | {"floor": low}


def _segmenter(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return "tips_v2_b_14_ade", _neck(config) | {"num_classes": len(config["id2label"])}


def _predicted_depth(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    return {"predicted_depth": model.apply(variables, inputs["pixel_values"])}


def _scores(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    return {"logits": model.apply(variables, inputs["pixel_values"], method="scores")}


PAIRS = ("pixel_values", "input_ids", "attention_mask")


FAMILIES = (
    Family("transformers", ("Tipsv2Model",), _towers, pairs, PAIRS, "pairs"),
    Family("transformers", ("Tipsv2VisionModel",), _tower, encoder, kind="encoder"),
    Family("transformers", ("Tipsv2DptForDepthEstimation",), _depth, _predicted_depth, kind="depth"),
    Family("transformers", ("Tipsv2DptForSemanticSegmentation",), _segmenter, _scores, kind="segmentation"),
    BACKBONE._replace(architectures=("Tipsv2VisionBackbone",), model=_backbone),
)
