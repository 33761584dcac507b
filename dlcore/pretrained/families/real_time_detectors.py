"""Detectors of transformers that are D-FINE or RT-DETR with another decoder: DEIMv2, PP-DocLayoutV3 and V4."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from dlcore.pretrained.families.detectors import PROPOSALS, d_fine_fields, hgnet_v2, proposal_fields, proposed_boxes
from dlcore.pretrained.family import Family, check_config

__all__ = ["FAMILIES"]

INPUTS = ("pixel_values", "pixel_mask")


SIZES = {
    "encoder_hidden_dim": 256,
    "encoder_in_channels": [512, 1024, 2048],
    "encoder_layers": 1,
    "encoder_ffn_dim": 1024,
    "encoder_attention_heads": 8,
    "encode_proj_layers": [2],
    "d_model": 256,
    "num_queries": 300,
    "decoder_in_channels": [256, 256, 256],
    "decoder_ffn_dim": 1024,
    "num_feature_levels": 3,
    "decoder_layers": 6,
    "decoder_attention_heads": 8,
    "num_denoising": 100,
    "hidden_expansion": 1.0,
    "decoder_n_points": 4,
}
HGNET_V2 = {
    "model_type": "hgnet_v2",
    "stem_channels": [3, 32, 48],
    "stage_out_channels": [128, 512, 1024, 2048],
    "stage_mid_channels": [48, 96, 192, 384],
    "stage_num_blocks": [1, 1, 3, 1],
    "stage_numb_of_layers": [6, 6, 6, 6],
    "stage_kernel_size": [3, 3, 5, 5],
    "stage_light_block": [False, False, True, True],
    "out_features": ["stage2", "stage3", "stage4"],
}
"""What transformers takes where a configuration leaves a field out."""


def _deim_v2(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    config = {**SIZES, "layer_scale": 1, **config, "backbone_config": HGNET_V2 | (config.get("backbone_config") or {})}
    encoder, levels = config.get("encoder_type", "hybrid"), len(config["backbone_config"]["out_features"])
    fixed = {"encoder_fuse_op": "sum", "encoder_type": encoder if encoder == "lite" else "hybrid"}
    check_config(config, fixed, "dlcore's DEIMv2")
    count = {"num_feature_levels": 2 if encoder == "lite" else levels}
    check_config(config, count, f"dlcore's DEIMv2 with {levels} maps of the backbone")
    fields = d_fine_fields(config)
    return "deim_v2_nano", fields | {
        "hidden_features": config["decoder_ffn_dim"] // 2,
        "encoder": encoder,
        "last_conv": config.get("encoder_has_trailing_conv", True),
        "gateway": config.get("use_gateway", True),
        "shared_sides": config.get("share_bbox_head", False),
    }


def _doc_layout_v3(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    backbone = (
        HGNET_V2 | {"out_features": ["stage1", *HGNET_V2["out_features"]]} | (config.get("backbone_config") or {})
    )
    fine, *stages = backbone["out_features"]
    config = {**SIZES, **config, "backbone_config": {**backbone, "out_features": stages}}
    fixed = PROPOSALS | {"anchor_image_size": None, "learn_initial_query": False, "feat_strides": [8, 16, 32]}
    check_config(config, fixed, "dlcore's PP-DocLayoutV3")
    return "doc_layout_v3", proposal_fields(config) | {
        "backbone": hgnet_v2(backbone),
        "num_points": config["decoder_n_points"],
        "num_denoising": 0,
        "fine_stage": fine.replace("stage", "layer"),
        "mask_features": tuple(config.get("mask_feature_channels", (64, 64))),
        "num_prototypes": config.get("num_prototypes", 32),
        "mask_boxes": config.get("mask_enhanced", True),
        "order_features": config.get("global_pointer_head_size", 64),
    }


def _doc_layout_v4(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    config = {**SIZES, **config, "backbone_config": HGNET_V2 | (config.get("backbone_config") or {})}
    config["d_model"] = config.get("hidden_size", config["d_model"])
    check_config(config, PROPOSALS | {"num_coords": 10, "anchor_image_size": None}, "dlcore's PP-DocLayoutV4")
    maps = len(config["backbone_config"]["out_features"])
    check_config({"decoder_in_channels": len(config["decoder_in_channels"])}, {"decoder_in_channels": maps}, WIDTHS)
    return "doc_layout_v4", proposal_fields(config) | {
        "backbone": hgnet_v2(config["backbone_config"]),
        "num_points": config["decoder_n_points"],
        "num_denoising": 0,
        "order_features": config.get("global_pointer_head_size", 64),
        "closure_steps": config.get("s2r_steps", 3),
        "closure_decay": config.get("s2r_damping", 0.5),
    }


def _masks_in_order(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    outputs, _ = model.apply(variables, inputs["pixel_values"])
    return {
        "logits": outputs.logits[:, -1],
        "pred_boxes": outputs.boxes[:, -1],
        "enc_topk_logits": outputs.logits[:, 0],
        "enc_topk_bboxes": outputs.boxes[:, 0],
        "order_logits": outputs.order,
        "out_masks": jnp.moveaxis(outputs.masks, 1, -1),
    }


def _quads_in_order(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    outputs, _ = model.apply(variables, inputs["pixel_values"])
    return {
        "logits": outputs.logits[:, -1],
        "pred_boxes": outputs.quads[:, -1],
        "enc_topk_logits": outputs.logits[:, 0],
        "enc_topk_bboxes": outputs.quads[:, 0],
        "relative_order_logits": outputs.relative,
        "successor_order_logits": outputs.successor,
    }


LAYOUT_V3 = ("PPDocLayoutV3ForObjectDetection",)


LAYOUT_V4 = ("PPDocLayoutV4ForObjectDetection",)


WIDTHS = "dlcore's PP-DocLayoutV4, one width for each of the backbone's maps"


FAMILIES = (
    Family("transformers", ("Deimv2ForObjectDetection",), _deim_v2, proposed_boxes, INPUTS, "detection"),
    Family("transformers", LAYOUT_V3, _doc_layout_v3, _masks_in_order, INPUTS, "detection"),
    Family("transformers", LAYOUT_V4, _doc_layout_v4, _quads_in_order, INPUTS, "detection"),
)
