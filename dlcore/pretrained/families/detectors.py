"""Detectors of transformers: DETR and its descendants, YOLOS and OWL, sets of boxes by queries; and ViTPose."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from dlcore.detection.resnet_d import ResNetD
from dlcore.models.clip import CLIP
from dlcore.models.hgnet import HGNetV2
from dlcore.pretrained.families.clip import tower_fields
from dlcore.pretrained.families.resnet import backbone_of
from dlcore.pretrained.families.vit import block_fields
from dlcore.pretrained.family import Family, check_config

__all__ = [
    "FAMILIES",
    "PROPOSALS",
    "d_fine_fields",
    "hgnet_v2",
    "padded_sizes",
    "proposal_fields",
    "proposed_boxes",
    "resnet_d_fields",
    "vit_pose_fields",
]


def _detr(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    heads, hidden = config["encoder_attention_heads"], config["encoder_ffn_dim"]
    fixed = {"position_embedding_type": "sine", "activation_function": "relu", "dilation": False}
    fixed |= {"decoder_attention_heads": heads, "decoder_ffn_dim": hidden}
    check_config(config, fixed, "dlcore's DETR")
    backbone = backbone_of(config)
    return "detr_resnet50", {
        "backbone": backbone,
        "stage": f"layer{len(backbone.stages)}",
        "num_classes": len(config["id2label"]),
        "num_queries": config["num_queries"],
        "features": config["d_model"],
        "num_heads": heads,
        "hidden_features": hidden,
        "encoder_layers": config["encoder_layers"],
        "decoder_layers": config["decoder_layers"],
    }


def _conditional_detr(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, {"auxiliary_loss": False}, "dlcore's Conditional DETR")  # else it normalizes between layers
    return "conditional_detr_resnet50", _detr(config)[1]


def _dab_detr(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    period = config.get("temperature_height", 20)
    fixed = {"activation_function": "prelu", "temperature_width": period, "query_dim": 4, "num_patterns": 0}
    fixed |= {"keep_query_pos": False, "normalize_before": False, "sine_position_embedding_scale": None}
    check_config({"temperature_width": 20, **config}, fixed, "dlcore's DAB-DETR")
    fields = _detr({**config, "activation_function": "relu", "d_model": config["hidden_size"]})[1]
    return "dab_detr_resnet50", fields | {"max_period": float(period)}


def _table_transformer(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Read a DETR that normalizes the input of each branch."""
    name, fields = _detr(config)
    return name, fields | {"pre_norm": True}


def _deformable_detr(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    heads, hidden, points = (config[f"encoder_{what}"] for what in ("attention_heads", "ffn_dim", "n_points"))
    decoder = {"decoder_attention_heads": heads, "decoder_ffn_dim": hidden, "decoder_n_points": points}
    fixed = {"position_embedding_type": "sine", "activation_function": "relu", "dilation": False}
    check_config(config, fixed | decoder, "dlcore's Deformable DETR")
    backbone, levels = backbone_of(config), config["num_feature_levels"]
    two_stage = config.get("two_stage", False)
    return "deformable_detr_resnet50", {
        "backbone": backbone,
        "stages": tuple(f"layer{i}" for i in ((2, 3, 4) if levels > 1 else (4,))),
        "num_levels": levels,
        "num_classes": len(config["id2label"]),
        "num_queries": config["two_stage_num_proposals" if two_stage else "num_queries"],
        "features": config["d_model"],
        "num_heads": heads,
        "hidden_features": hidden,
        "num_points": points,
        "encoder_layers": config["encoder_layers"],
        "decoder_layers": config["decoder_layers"],
        "box_refine": config.get("with_box_refine", False),
        "two_stage": two_stage,
    }


def resnet_d_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """Read the fields of RT-DETR's backbone.

    Args:
      config: content of its config.json.

    Returns:
      Fields of `dlcore.detection.resnet_d.ResNetD`.
    """
    fixed = {"downsample_in_bottleneck": False, "downsample_in_first_stage": False, "hidden_act": "relu"}
    check_config(config, fixed, "dlcore's RT-DETR")
    return {
        "stages": tuple(config["depths"]),
        "widths": tuple(config["hidden_sizes"]),
        "stem_width": config["embedding_size"],
        "block": config["layer_type"],
    }


def _rt_detr(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config["backbone_config"], {"model_type": "rt_detr_resnet"}, "dlcore's RT-DETR")
    check_config(config, PROPOSALS | {"with_box_refine": True}, "dlcore's RT-DETR")
    name = "rt_detr_v2_r50vd" if config["architectures"][0].startswith("RTDetrV2") else "rt_detr_r50vd"
    backbone = ResNetD(**resnet_d_fields(config["backbone_config"]))
    return name, {"backbone": backbone, "num_points": config["decoder_n_points"], **proposal_fields(config)}


def d_fine_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """Read the fields of D-FINE.

    Args:
      config: content of its config.json.

    Returns:
      Fields of `dlcore.detection.d_fine.DFINE`.
    """
    config = {**D_FINE, **config}
    levels, layers = config["num_feature_levels"], config["decoder_layers"]
    fixed = {"with_box_refine": True, "layer_scale": 1, "decoder_in_channels": [config["encoder_hidden_dim"]] * levels}
    if config["eval_idx"] not in (-1, layers - 1):
        raise ValueError(f"eval_idx={config['eval_idx']}: not in dlcore's D-FINE; allowed: -1 or {layers - 1}")
    check_config(config, PROPOSALS | fixed, "dlcore's D-FINE")
    points = config["decoder_n_points"]
    return {
        "backbone": hgnet_v2(config["backbone_config"]),
        "num_points": (points,) * levels if isinstance(points, int) else tuple(points),
        "encoder_blocks": round(3 * config["depth_mult"]),
        "num_bins": config["max_num_bins"],
        "num_probabilities": config["top_prob_values"],
        "quality_features": config["lqe_hidden_dim"],
        "quality_layers": config["lqe_layers"],
        **proposal_fields(config),
    }


def hgnet_v2(inner: Mapping[str, Any]) -> HGNetV2:
    """Build the backbone of D-FINE.

    Args:
      inner: content of backbone_config.

    Returns:
      The network.
    """
    fixed = {"model_type": "hgnet_v2", "hidden_act": "relu", "stem_strides": [2, 1, 1, 2, 1]}
    fixed |= {"stage_downsample": [False, True, True, True], "stage_downsample_strides": [2, 2, 2, 2]}
    check_config(inner, fixed, "dlcore's D-FINE")
    return HGNetV2(
        stem_widths=tuple(inner["stem_channels"][1:]),
        widths=tuple(inner["stage_out_channels"]),
        mid_widths=tuple(inner["stage_mid_channels"]),
        stages=tuple(inner["stage_num_blocks"]),
        num_layers=tuple(inner["stage_numb_of_layers"]),
        kernel_sizes=tuple(inner["stage_kernel_size"]),
        light=tuple(inner["stage_light_block"]),
        affine=inner.get("use_learnable_affine_block", False),
    )


def _d_fine(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return "d_fine_large", d_fine_fields(config)


def proposal_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """Read the fields that RT-DETR and D-FINE share.

    Args:
      config: content of its config.json.

    Returns:
      Fields of `dlcore.detection.rt_detr.RTDETR`.
    """
    method = {"default": "bilinear", "discrete": "discrete"}[config.get("decoder_method", "default")]
    return {
        "stages": tuple(stage.replace("stage", "layer") for stage in config["backbone_config"]["out_features"]),
        "num_classes": len(config["id2label"]),
        "num_queries": config["num_queries"],
        "features": config["d_model"],
        "num_heads": config["decoder_attention_heads"],
        "hidden_features": config["decoder_ffn_dim"],
        "decoder_layers": config["decoder_layers"],
        "num_levels": config["num_feature_levels"],
        "encoder_features": config["encoder_hidden_dim"],
        "encoder_heads": config["encoder_attention_heads"],
        "encoder_hidden_features": config["encoder_ffn_dim"],
        "encoder_layers": config["encoder_layers"],
        "encoder_levels": tuple(config["encode_proj_layers"]),
        "expansion": config["hidden_expansion"],
        "learned_queries": config.get("learn_initial_query", False),
        "num_denoising": config["num_denoising"],
        "offset_scale": config.get("decoder_offset_scale", 0.5),
        "method": method,
    }


def _owl(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    vision = {**OWL_VISION, **config["vision_config"]}
    text = {**OWL_TEXT, **config["text_config"]}
    has_objects = config["architectures"][0].startswith("Owlv2")
    vision = {"image_size": 768, "patch_size": 16 if has_objects else 32, **vision}
    clip = CLIP(**tower_fields(vision, text), end_token=text["vocab_size"] - 1, embedding_size=config["projection_dim"])
    name = "owlv2_base_patch16" if has_objects else "owlvit_base_patch32"
    return name, {"clip": clip, "objectness": has_objects}


def _word_boxes(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    outputs = model.apply(variables, inputs["pixel_values"], inputs["input_ids"])
    predictions = {"logits": outputs.logits, "pred_boxes": outputs.boxes}
    return predictions | ({} if outputs.objectness is None else {"objectness_logits": outputs.objectness})


def proposed_boxes(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """Compute the outputs of RT-DETR and its kin.

    Args:
      model: a `dlcore.detection.rt_detr.RTDETR`.
      variables: its variables.
      inputs: {"pixel_values": [B, H, W, C]}.

    Returns:
      logits [B, Q, C] and pred_boxes [B, Q, 4], and those of the proposals.
    """
    outputs, _ = model.apply(variables, inputs["pixel_values"])
    return {
        "logits": outputs.logits[:, -1],
        "pred_boxes": outputs.boxes[:, -1],
        "enc_topk_logits": outputs.logits[:, 0],
        "enc_topk_bboxes": outputs.boxes[:, 0],
    }


def padded_sizes(inputs: Mapping[str, Any]) -> Any:
    """Measure padded images.

    Args:
      inputs: inputs by name, with a `pixel_mask` [B, H, W] where images are padded.

    Returns:
      [B, 2], height and width of each image; None without a mask.
    """
    mask = inputs.get("pixel_mask")
    return None if mask is None else jnp.stack([mask.max(2).sum(1), mask.max(1).sum(1)], -1)


def _boxes(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    outputs, _ = model.apply(variables, inputs["pixel_values"], padded_sizes(inputs))
    return {"logits": outputs.logits[:, -1], "pred_boxes": outputs.boxes[:, -1]}


def _yolos(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, {"hidden_act": "gelu", "qkv_bias": True}, "dlcore's YOLOS")
    height, width = config["image_size"]
    return "yolos_small", {
        "num_classes": len(config["id2label"]),
        "image_size": (height, width),
        "patch_size": config["patch_size"],
        **block_fields(config),
        "num_queries": config["num_detection_tokens"],
        "mid_positions": config.get("use_mid_position_embeddings", True),
        "epsilon": config["layer_norm_eps"],
    }


def _set(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """Boxes in shares of the whole array: transformers' YOLOS reads no mask of padding."""
    outputs, _ = model.apply(variables, inputs["pixel_values"])
    return {"logits": outputs.logits[:, -1], "pred_boxes": outputs.boxes[:, -1]}


def _vit_pose(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    is_simple = config.get("use_simple_decoder", True)
    return "vitpose_base_simple" if is_simple else "vitpose_base", vit_pose_fields(config["backbone_config"]) | {
        "simple": is_simple,
        "num_keypoints": len(config["id2label"]),
        "scale": config.get("scale_factor", 4),
    }


def vit_pose_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """Read the fields of ViTPose's encoder.

    Args:
      config: content of its config.json.

    Returns:
      Fields of `dlcore.detection.vitpose.ViTPose`.
    """
    side = config["patch_size"][0]
    fixed = {"hidden_act": "gelu", "qkv_bias": True, "patch_size": [side, side]}
    experts = config.get("num_experts", 1)
    more = {"num_experts": experts, "part_features": config["part_features"]} if experts > 1 else {}
    check_config(config, fixed, "dlcore's ViTPose")
    return {
        "image_size": tuple(config["image_size"]),
        "patch_size": side,
        "depth": config["num_hidden_layers"],
        "width": config["hidden_size"],
        "num_heads": config["num_attention_heads"],
        "mlp_features": int(config["hidden_size"] * config["mlp_ratio"]),
        "epsilon": config["layer_norm_eps"],
        **more,
    }


def _heat_maps(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    dataset = inputs["dataset_index"] if model.num_experts > 1 else None
    return {"heatmaps": model.apply(variables, inputs["pixel_values"], False, dataset)}


INPUTS = ("pixel_values", "pixel_mask")


POSE_INPUTS = ("pixel_values", "dataset_index")


OWL_VISION = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}


OWL_VISION |= {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}


OWL_TEXT = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 8}


OWL_TEXT |= {"vocab_size": 49408, "max_position_embeddings": 16, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}
"""What transformers takes where the configuration leaves a field out."""


OWL = ("OwlViTForObjectDetection", "Owlv2ForObjectDetection")


OWL_INPUTS = ("pixel_values", "input_ids", "attention_mask")


PROPOSALS = {"activation_function": "silu", "encoder_activation_function": "gelu", "eval_size": None}


PROPOSALS |= {"normalize_before": False, "decoder_activation_function": "relu", "batch_norm_eps": 1e-5}


PROPOSALS |= {"layer_norm_eps": 1e-5, "positional_encoding_temperature": 10000}
"""What RT-DETR and D-FINE have in dlcore."""


D_FINE = {"max_num_bins": 32, "top_prob_values": 4, "lqe_hidden_dim": 64, "lqe_layers": 2, "depth_mult": 1.0}


D_FINE |= {"decoder_n_points": 4, "hidden_expansion": 1.0, "eval_idx": -1}
"""What transformers takes where the configuration of D-FINE leaves a field out."""


RT_DETR = ("RTDetrForObjectDetection", "RTDetrV2ForObjectDetection")


FAMILIES = (
    Family("transformers", ("DetrForObjectDetection",), _detr, _boxes, INPUTS, "detection"),
    Family("transformers", ("ConditionalDetrForObjectDetection",), _conditional_detr, _boxes, INPUTS, "detection"),
    Family("transformers", ("DabDetrForObjectDetection",), _dab_detr, _boxes, INPUTS, "detection"),
    Family("transformers", ("TableTransformerForObjectDetection",), _table_transformer, _boxes, INPUTS, "detection"),
    Family("transformers", ("DeformableDetrForObjectDetection",), _deformable_detr, _boxes, INPUTS, "detection"),
    Family("transformers", RT_DETR, _rt_detr, proposed_boxes, INPUTS, "detection"),
    Family("transformers", ("DFineForObjectDetection",), _d_fine, proposed_boxes, INPUTS, "detection"),
    Family("transformers", OWL, _owl, _word_boxes, OWL_INPUTS, "detection"),
    Family("transformers", ("YolosForObjectDetection",), _yolos, _set, INPUTS, "detection"),
    Family("transformers", ("VitPoseForPoseEstimation",), _vit_pose, _heat_maps, POSE_INPUTS, "detection"),
)
