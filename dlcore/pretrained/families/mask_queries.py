"""MaskFormer, Mask2Former and EoMT of transformers: masks and classes of queries."""

from collections.abc import Mapping
from typing import Any

from flax import linen as nn

from dlcore.detection.detr import DETR
from dlcore.pretrained.families.detectors import padded_sizes
from dlcore.pretrained.families.swin import swin_backbone
from dlcore.pretrained.family import Family, check_config, read_as

__all__ = ["FAMILIES"]


def _swin(config: Mapping[str, Any]) -> nn.Module:
    inner = config["backbone_config"]
    if inner.get("model_type") not in ("swin", "maskformer-swin"):
        raise ValueError(f"backbone_config: a {inner.get('model_type')}; allowed: swin")
    return swin_backbone(inner)


def _maskformer(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    decoder = config["decoder_config"]
    check_config(decoder, {"activation_function": "relu", "auxiliary_loss": False}, "dlcore's MaskFormer")
    return "maskformer_swin_t", {
        "backbone": _swin(config),
        "num_classes": len(config["id2label"]),
        "num_queries": decoder["num_queries"],
        "features": decoder["d_model"],
        "num_heads": decoder["decoder_attention_heads"],
        "hidden_features": decoder["decoder_ffn_dim"],
        "decoder_layers": decoder["decoder_layers"],
        "pixel_features": config["fpn_feature_size"],
        "mask_features": config["mask_feature_size"],
    }


def _mask2former(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    fixed = {"pre_norm": False, "activation_function": "relu", "common_stride": 4}
    fixed |= {"feature_strides": [4, 8, 16, 32], "enforce_input_projection": False}
    check_config(config, fixed, "dlcore's Mask2Former")
    return "mask2former_swin_t", {
        "backbone": _swin(config),
        "num_classes": len(config["id2label"]),
        "num_queries": config["num_queries"],
        "features": config["hidden_dim"],
        "num_heads": config["num_attention_heads"],
        "hidden_features": config["dim_feedforward"],
        "decoder_layers": config["decoder_layers"] - 1,  # transformers counts the queries at first as a layer
        "pixel_features": config["feature_size"],
        "encoder_layers": config["encoder_layers"],
        "encoder_hidden_features": config["encoder_feedforward_dim"],
        "mask_features": config["mask_feature_size"],
    }


def _eomt(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    fixed = {"hidden_act": "gelu", "use_swiglu_ffn": False, "num_channels": 3}
    check_config(config, fixed, "dlcore's EoMT")
    width = config.get("hidden_size", 1024)
    return "eomt_large_640", {
        "num_classes": len(config["id2label"]),
        "image_size": config.get("image_size", 640),
        "patch_size": config.get("patch_size", 16),
        "depth": config.get("num_hidden_layers", 24),
        "query_blocks": config.get("num_blocks", 4),
        "width": width,
        "num_heads": config.get("num_attention_heads", 16),
        "mlp_features": int(width * config.get("mlp_ratio", 4)),
        "num_queries": config.get("num_queries", 200),
        "num_registers": config.get("num_register_tokens", 4),
        "num_upscale": config.get("num_upscale_blocks", 2),
        "layer_scale": config.get("layerscale_value", 1.0),
        "epsilon": config.get("layer_norm_eps", 1e-6),
    }


def _eomt_dinov3(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    fixed = {"use_gated_mlp": False, "key_bias": False, "num_channels": 3, "hidden_act": "gelu"}
    fixed |= dict.fromkeys(("query_bias", "value_bias", "proj_bias", "mlp_bias"), True)
    check_config(config, fixed, "dlcore's EoMT")
    check_config(config.get("rope_parameters") or config, {"rope_theta": 100.0}, "dlcore's EoMT")
    name, fields = _eomt({**config, "hidden_act": "gelu"})
    return name, fields | {"rotary": True, "mlp_features": config["intermediate_size"]}


def _detr(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    detr = DETR(**read_as("DetrForObjectDetection")(config)[1])
    depth = len(detr.backbone.stages)
    return "detr_resnet50_panoptic", {
        "detr": detr,
        "stages": tuple(f"layer{i}" for i in range(depth - 1, depth - 4, -1)),
    }


def _query_masks(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    outputs = model.apply(variables, inputs["pixel_values"], padded_sizes(inputs))
    return {"logits": outputs.logits, "pred_boxes": outputs.boxes, "pred_masks": outputs.masks}


def _masks(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    outputs = model.apply(variables, inputs["pixel_values"])
    return {"class_queries_logits": outputs.class_logits[:, -1], "masks_queries_logits": outputs.mask_logits[:, -1]}


INPUTS = ("pixel_values", "pixel_mask")


FAMILIES = (
    Family("transformers", ("MaskFormerForInstanceSegmentation",), _maskformer, _masks, INPUTS, "segmentation"),
    Family("transformers", ("Mask2FormerForUniversalSegmentation",), _mask2former, _masks, INPUTS, "segmentation"),
    Family("transformers", ("EomtForUniversalSegmentation",), _eomt, _masks, INPUTS, "segmentation"),
    Family("transformers", ("EomtDinov3ForUniversalSegmentation",), _eomt_dinov3, _masks, INPUTS, "segmentation"),
    Family("transformers", ("DetrForSegmentation",), _detr, _query_masks, INPUTS, "segmentation"),
)
