"""RF-DETR and LW-DETR of transformers, and their backbones, windowed ViTs."""

import math
from collections.abc import Mapping
from typing import Any

from dlcore.detection.lw_detr import LWDETR
from dlcore.detection.windowed_vit import WindowedViT
from dlcore.pretrained.families.detectors import INPUTS, padded_sizes
from dlcore.pretrained.family import Family, check_config, square_side

__all__ = ["FAMILIES"]

RF_BACKBONE = {"hidden_act": "gelu", "apply_layernorm": True, "reshape_hidden_states": True, "num_channels": 3}


LW_BACKBONE = {"hidden_act": "gelu", "use_absolute_position_embeddings": True, "num_channels": 3}


DECODER = {"activation_function": "silu", "decoder_activation_function": "relu", "attention_bias": True}
"""What dlcore's networks have, where a configuration may say otherwise."""


def _stages(config: Mapping[str, Any]) -> tuple[int, ...]:
    """Numbers of blocks behind which the maps are, 0 for the patches."""
    depth = config["num_hidden_layers"]
    indices = config.get("out_indices")
    if (names := config.get("out_features")) is not None:
        indices = [0 if name == "stem" else int(str(name).removeprefix("stage")) for name in names]
    indices = [depth] if indices is None else indices
    if any(i > depth or i < -depth - 1 for i in indices):
        raise ValueError(f"out_indices={indices!r}: no maps of {depth} blocks; allowed: 0 to {depth}")
    return tuple(i % (depth + 1) for i in indices)


def _vit_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "patch_size": square_side(config["patch_size"]),
        "depth": config["num_hidden_layers"],
        "width": config["hidden_size"],
        "num_heads": config["num_attention_heads"],
        "epsilon": config.get("layer_norm_eps", 1e-6),
    }


def _rf_backbone(config: Mapping[str, Any]) -> tuple[WindowedViT, tuple[str, ...]]:
    check_config(config, RF_BACKBONE, "dlcore's RF-DETR")
    indices, swiglu = _stages(config), config.get("use_swiglu_ffn", False)
    hidden = int(config["hidden_size"] * config["mlp_ratio"])
    backbone = WindowedViT(
        pretrain_size=square_side(config["image_size"]),
        # DINOv2's gated MLP has two thirds of the units, rounded up to a multiple of 8.
        mlp_features=(int(hidden * 2 / 3) + 7) // 8 * 8 if swiglu else hidden,
        swiglu=swiglu,
        num_windows=config["num_windows"],
        # The blocks behind a map attend everywhere.
        window_blocks=tuple(i for i in range(max(indices)) if i not in indices),
        class_token=True,
        final_norm=True,
        qkv_bias="qkv" if config.get("qkv_bias", True) else "none",
        layer_scale=config.get("layerscale_value", 1.0),
        **_vit_fields(config),
    )
    return backbone, tuple(f"block{i}" for i in indices)


def _lw_backbone(config: Mapping[str, Any]) -> tuple[WindowedViT, tuple[str, ...]]:
    check_config(config, LW_BACKBONE, "dlcore's LW-DETR")
    backbone = WindowedViT(
        pretrain_size=square_side(config["pretrain_image_size"]),
        mlp_features=int(config["hidden_size"] * config["mlp_ratio"]),
        num_windows=math.isqrt(config["num_windows"]),  # of the whole image
        window_blocks=tuple(config.get("window_block_indices", ())),
        qkv_bias="qv" if config.get("qkv_bias", True) else "none",
        **_vit_fields(config),
    )
    return backbone, tuple(f"block{i}" for i in _stages(config))


def _decoder_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    check_config(config, DECODER, "dlcore's LW-DETR")
    return {
        "num_classes": len(config["id2label"]),
        "num_queries": config["num_queries"],
        "num_groups": config["group_detr"],
        "features": config["d_model"],
        "num_heads": config["decoder_self_attention_heads"],
        "cross_heads": config["decoder_cross_attention_heads"],
        "hidden_features": config["decoder_ffn_dim"],
        "decoder_layers": config["decoder_layers"],
        "num_points": config["decoder_n_points"],
        "expansion": config["hidden_expansion"],
        "projector_blocks": config["c2f_num_blocks"],
    }


def _rf_detr_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    check_config(config["backbone_config"], {"model_type": "rf_detr_dinov2"}, "dlcore's RF-DETR")
    check_config(config, {"num_feature_levels": 1}, "dlcore's RF-DETR")
    backbone, stages = _rf_backbone(config["backbone_config"])
    epsilon = config.get("layer_norm_eps", 1e-5)
    return {"backbone": backbone, "stages": stages, "norm_epsilon": epsilon, **_decoder_fields(config)}


def _rf_detr(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return "rf_detr_base", _rf_detr_fields(config)


def _rf_segmenter(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, {"segmentation_head_activation_function": "gelu"}, "dlcore's RF-DETR")
    return "rf_detr_seg_base", {
        "detector": LWDETR(**_rf_detr_fields(config)),
        "hidden_features": config.get("intermediate_size", 1024),
        "stride": config.get("mask_downsample_ratio", 4),
    }


def _lw_detr(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config["backbone_config"], {"model_type": "lw_detr_vit"}, "dlcore's LW-DETR")
    check_config(config, {"batch_norm_eps": 1e-5}, "dlcore's LW-DETR")
    backbone, stages = _lw_backbone(config["backbone_config"])
    scales = tuple(float(scale) for scale in config["projector_scale_factors"])
    return "lw_detr_tiny", {"backbone": backbone, "stages": stages, "scales": scales, **_decoder_fields(config)}


def _rf_maps(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    backbone, stages = _rf_backbone(config)
    return "feature_maps", {"backbone": backbone, "stages": stages}


def _lw_maps(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    backbone, stages = _lw_backbone(config)
    return "feature_maps", {"backbone": backbone, "stages": stages}


def _boxes(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    outputs, _ = model.apply(variables, inputs["pixel_values"], padded_sizes(inputs))
    return {
        "logits": outputs.logits[:, -1],
        "pred_boxes": outputs.boxes[:, -1],
        "enc_outputs_class": outputs.logits[:, 0],
        "enc_outputs_coord_logits": outputs.boxes[:, 0],
    }


def _masks(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    outputs = model.apply(variables, inputs["pixel_values"], padded_sizes(inputs))
    return {"logits": outputs.logits, "pred_boxes": outputs.boxes, "pred_masks": outputs.masks}


def _maps(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    maps = model.apply(variables, inputs["pixel_values"])
    return {f"feature_maps.{i}": maps[stage] for i, stage in enumerate(model.stages)}


FAMILIES = (
    Family("transformers", ("RfDetrForObjectDetection",), _rf_detr, _boxes, INPUTS, "detection"),
    Family("transformers", ("RfDetrForInstanceSegmentation",), _rf_segmenter, _masks, INPUTS, "segmentation"),
    Family("transformers", ("LwDetrForObjectDetection",), _lw_detr, _boxes, INPUTS, "detection"),
    Family("transformers", ("RfDetrDinov2Backbone",), _rf_maps, _maps, kind="encoder"),
    Family("transformers", ("LwDetrViTBackbone",), _lw_maps, _maps, kind="encoder"),
)
