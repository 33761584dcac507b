"""MaskFormer and Mask2Former of transformers: masks and classes of queries."""

from collections.abc import Mapping
from typing import Any

from flax import linen as nn

from dlcore.models.pretrained.family import Family, check_config
from dlcore.models.swin import Swin

__all__ = ["FAMILIES"]


def _swin(config: Mapping[str, Any]) -> nn.Module:
    inner = config["backbone_config"]
    if inner.get("model_type") not in ("swin", "maskformer-swin"):
        raise ValueError(f"backbone_config: a {inner.get('model_type')}; allowed: swin")
    check_config(inner, {"qkv_bias": True, "hidden_act": "gelu", "use_absolute_embeddings": False}, "dlcore's Swin")
    return Swin(
        num_classes=0,
        stages=tuple(inner["depths"]),
        width=inner["embed_dim"],
        num_heads=tuple(inner["num_heads"]),
        patch_size=inner["patch_size"],
        window_size=inner["window_size"],
        mlp_ratio=inner["mlp_ratio"],
    )


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


def _masks(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    outputs = model.apply(variables, inputs["pixel_values"])
    return {
        "class_queries_logits": outputs.class_logits[:, -1],
        "masks_queries_logits": outputs.mask_logits[:, -1],
    }


INPUTS = ("pixel_values", "pixel_mask")
FAMILIES = (
    Family("transformers", ("MaskFormerForInstanceSegmentation",), _maskformer, _masks, INPUTS, "segmentation"),
    Family("transformers", ("Mask2FormerForUniversalSegmentation",), _mask2former, _masks, INPUTS, "segmentation"),
)
