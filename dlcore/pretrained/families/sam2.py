"""SAM 2 and SAM 3's tracker of transformers on images: prompts in pixels of the photograph, and masks of its size."""

from collections.abc import Mapping
from typing import Any

from dlcore.models.hiera_det import HieraDet
from dlcore.models.rotary_vitdet import RotaryViTDet
from dlcore.pretrained.defaults import DEFAULTS
from dlcore.pretrained.families.sam import INPUTS, around
from dlcore.pretrained.family import Family, check_config, square_side

__all__ = ["FAMILIES"]

BACKBONE = {"num_channels": 3, "patch_kernel_size": [7, 7], "patch_stride": [4, 4], "patch_padding": [3, 3]}
BACKBONE |= {"query_stride": [2, 2], "hidden_act": "gelu", "layer_norm_eps": 1e-6}

VIT = {"num_channels": 3, "hidden_act": "gelu", "layer_norm_eps": 1e-6}

NECK = {"fpn_kernel_size": 1, "fpn_stride": 1, "fpn_padding": 0, "num_feature_levels": 3}

PROMPTS = {"num_point_embeddings": 4, "hidden_act": "gelu", "layer_norm_eps": 1e-6}

DECODER = {"num_hidden_layers": 2, "attention_downsample_rate": 2}
"""A two-way block's MLP has as many layers as there are blocks; `hidden_act` changes nothing in the library."""


def decoder_fields(config: Mapping[str, Any], side: int, patch_size: int = 16, usual: int = 1024) -> dict[str, Any]:
    """Read the prompt encoder and the mask decoder.

    Args:
      config: content of config.json.
      side: side in pixels of the image encoder's images.
      patch_size: pixels to a place of the map that masks are decoded from.
      usual: the side that the library takes where a part leaves it out.

    Returns:
      Fields of `dlcore.segmentation.sam2.SAM2`, but for the encoder.
    """
    parts = ("vision", "prompt_encoder", "mask_decoder")
    vision, prompts, decoder = (config.get(f"{part}_config") or {} for part in parts)
    features, where = vision.get("fpn_hidden_size", 256), f"dlcore's SAM 2 for images of {side} pixels"
    vision = {"backbone_feature_sizes": [[usual // patch_size * n] * 2 for n in (4, 2, 1)], **vision}
    check_config(vision, NECK | {"backbone_feature_sizes": [[side // patch_size * n] * 2 for n in (4, 2, 1)]}, where)
    prompts = {"image_size": usual, "patch_size": patch_size, "hidden_size": 256, **prompts}
    sizes = {"image_size": side, "patch_size": patch_size, "hidden_size": features}
    check_config(prompts, PROMPTS | sizes, where)
    check_config({"hidden_size": 256, **decoder}, DECODER | {"hidden_size": features}, where)
    return {
        "features": features,
        "top_down": tuple(vision.get("fpn_top_down_levels", (2, 3))),
        "num_masks": decoder.get("num_multimask_outputs", 3),
        "num_heads": decoder.get("num_attention_heads", 8),
        "hidden": decoder.get("mlp_dim", 2048),
        "iou_hidden": decoder.get("iou_head_hidden_dim", 256),
        "iou_depth": decoder.get("iou_head_depth", 3),
        "mask_channels": prompts.get("mask_input_channels", 16),
    }


def _sam2(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    vision = config.get("vision_config") or {}
    backbone = {**DEFAULTS["sam2_hiera_det_model"], **(vision.get("backbone_config") or {})}
    side, widths = square_side(backbone["image_size"]), backbone["embed_dim_per_stage"]
    same = {"hidden_size": widths[0], "num_query_pool_stages": len(widths) - 1}
    check_config({"hidden_size": 96, "num_query_pool_stages": 3, **backbone}, BACKBONE | same, "dlcore's SAM 2")
    check_config(
        {"backbone_channel_list": [768, 384, 192, 96], **vision},
        {"backbone_channel_list": widths[::-1]},
        "dlcore's SAM 2",
    )
    positions = backbone["window_positional_embedding_background_size"]
    return "sam2_hiera_tiny", decoder_fields(config, side) | {
        "encoder": HieraDet(
            image_size=side,
            stages=tuple(backbone["blocks_per_stage"]),
            widths=tuple(widths),
            num_heads=tuple(backbone["num_attention_heads_per_stage"]),
            window_sizes=tuple(backbone["window_size_per_stage"]),
            global_blocks=tuple(backbone["global_attention_blocks"]),
            positions=(positions[0], positions[1]),
            mlp_ratio=backbone["mlp_ratio"],
        ),
    }


def segment(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """Segment what prompts point at.

    Args:
      model: a `dlcore.segmentation.sam2.SAM2`.
      variables: its variables.
      inputs: images and prompts, by the library's names.

    Returns:
      {"pred_masks": logits [B, P, M, S / 4, S / 4], "iou_scores": [B, P, M], "object_score_logits": [B, P, 1]}.
    """
    prompts = [inputs.get(f"input_{kind}") for kind in ("points", "labels", "boxes", "masks")]
    logits, iou, score, _ = model.apply(variables, inputs["pixel_values"], *prompts)
    return {"pred_masks": logits[:, :, 1:], "iou_scores": iou[:, :, 1:], "object_score_logits": score}


def _sam3(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    vision = {"scale_factors": [4.0, 2.0, 1.0, 0.5], **(config.get("vision_config") or {})}
    backbone = vision.get("backbone_config") or {}
    check_config(backbone, VIT, "dlcore's SAM 3")
    if vision["scale_factors"] != [4.0, 2.0, 1.0]:
        check_config(vision, {"scale_factors": [4.0, 2.0, 1.0, 0.5]}, "dlcore's SAM 3")
    rotary = backbone.get("rope_parameters") or {}
    check_config(rotary, {"rope_type": "axial"}, "dlcore's SAM 3")
    side, patch_size = square_side(backbone.get("image_size", 1008)), square_side(backbone.get("patch_size", 14))
    return "sam3_tracker", decoder_fields(config, side, patch_size, 1008) | {
        "encoder": RotaryViTDet(
            image_size=side,
            pretrain_size=square_side(backbone.get("pretrain_image_size", 336)),
            patch_size=patch_size,
            depth=backbone.get("num_hidden_layers", 32),
            width=backbone.get("hidden_size", 1024),
            num_heads=backbone.get("num_attention_heads", 16),
            mlp_features=backbone.get("intermediate_size", 4736),
            window_size=backbone.get("window_size", 24),
            global_blocks=tuple(backbone.get("global_attn_indexes") or (7, 15, 23, 31)),
            period=rotary.get("rope_theta", 10_000.0),
        ),
    }


FAMILIES = (
    Family("transformers", ("Sam2Model",), _sam2, segment, INPUTS, "segmentation", call=around),
    Family("transformers", ("Sam3TrackerModel",), _sam3, segment, INPUTS, "segmentation", call=around),
)
