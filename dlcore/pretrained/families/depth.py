"""Networks of depth of transformers: DPT, Depth Anything, Depth Pro and GLPN."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from dlcore.choices import check_choice
from dlcore.models.mit import MiT
from dlcore.pretrained.families.dinov2 import dinov2_fields
from dlcore.pretrained.families.stages import mit_fields
from dlcore.pretrained.family import Family, check_config
from dlcore.vision3d.depth_pro import TokensAndMaps
from dlcore.vision3d.dpt import ClassTokenViT, NormalizedDINOv2

__all__ = ["FAMILIES"]

WHERE = "dlcore's network"


DPT = {
    "is_hybrid": False,
    "backbone_config": None,
    "add_projection": False,
    "head_in_index": -1,
    "hidden_act": "gelu",
    "neck_ignore_stages": [],
    "qkv_bias": True,
    "use_batch_norm_in_fusion_residual": False,
}


DEPTH_ANYTHING = {"head_in_index": -1}


BACKBONE = {"model_type": "dinov2", "apply_layernorm": True, "hidden_act": "gelu"}


def _neck(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "channels": tuple(config["neck_hidden_sizes"]),
        "factors": tuple(config.get("reassemble_factors", (4, 2, 1, 0.5))),
        "features": config.get("fusion_hidden_size", 256),
    }


def _dpt(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, DPT, WHERE)
    readout = config.get("readout_type", "project")
    encoder = ClassTokenViT(
        num_classes=0,
        image_size=config["image_size"],
        patch_size=config["patch_size"],
        depth=config["num_hidden_layers"],
        width=config["hidden_size"],
        num_heads=config["num_attention_heads"],
        mlp_features=config["intermediate_size"],
        epsilon=config.get("layer_norm_eps", 1e-12),
    )
    stages = tuple(f"block{i + 1}" for i in config["backbone_out_indices"])
    return "dpt_large", _neck(config) | {"backbone": encoder, "stages": stages, "readout": readout}


def _depth_anything(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, DEPTH_ANYTHING, WHERE)
    backbone = config["backbone_config"]
    check_config(backbone, BACKBONE, WHERE)
    kind = config.get("depth_estimation_type", "relative")
    check_choice("depth_estimation_type", kind, ("relative", "metric"))
    return "depth_anything_small", _neck(config) | {
        "backbone": NormalizedDINOv2(**dinov2_fields(backbone)),
        "stages": tuple(f"block{i}" for i in backbone["out_indices"]),
        "head_features": config.get("head_hidden_size", 32),
        "metric": kind == "metric",
        "max_depth": float(config.get("max_depth") or 1),
    }


def _prompted(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    name, fields = _depth_anything(config)
    return name, fields | {"prompted": True, "max_depth": 1.0}


def _glpn(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, {"head_in_index": -1}, WHERE)
    return "glpn", {
        "backbone": MiT(num_classes=0, **mit_fields(config)),
        "features": config.get("decoder_hidden_size", 64),
        "max_depth": float(config.get("max_depth", 10)),
    }


DEPTH_PRO = {"use_batch_norm_in_fusion_residual": False, "use_bias_in_fusion_residual": True}


def _depth_pro(config: Mapping[str, Any], depth_head: bool = True) -> tuple[str, dict[str, Any]]:
    check_config(config, DEPTH_PRO, "dlcore's Depth Pro")
    encoders = {}
    for name in ("image", "patch", "fov"):
        inner = config[f"{name}_model_config"]
        check_choice(f"{name}_model_config.model_type", inner.get("model_type", "dinov2"), ("dinov2",))
        sizes = inner["image_size"], inner["patch_size"]
        expected = config["patch_size"], config["image_model_config"]["patch_size"]
        if sizes != expected:
            raise ValueError(f"{name}_model_config: image_size, patch_size={sizes}; allowed: {expected}")
        encoders[name] = TokensAndMaps(**dinov2_fields(inner))
    return "depth_pro", {
        "image_encoder": encoders["image"],
        "patch_encoder": encoders["patch"],
        "view_encoder": encoders["fov"] if config.get("use_fov_model") and depth_head else None,
        "features": config["fusion_hidden_size"],
        "blocks": tuple(i + 1 for i in config["intermediate_hook_ids"]),
        "block_features": tuple(config["intermediate_feature_dims"]),
        "ratios": tuple(float(ratio) for ratio in config["scaled_images_ratios"]),
        "overlaps": tuple(float(overlap) for overlap in config["scaled_images_overlap_ratios"]),
        "ratio_features": tuple(config["scaled_images_feature_dims"]),
        "margin": config["merge_padding_value"],
        "view_layers": config.get("num_fov_head_layers", 2),
        "depth_head": depth_head,
    }


def _outputs(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    outputs = model.apply(variables, inputs["pixel_values"])
    maps = outputs.pop("features", [])
    return outputs | {f"features.{i}": y for i, y in enumerate(maps)}


def _depth(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    return {"predicted_depth": model.apply(variables, inputs["pixel_values"])}


def _prompted_depth(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    prompt = inputs.get("prompt_depth")
    if prompt is not None and prompt.ndim == 4:  # transformers' has a channel
        prompt = prompt[..., 0] if prompt.shape[-1] == 1 else prompt[:, 0]
    return {"predicted_depth": model.apply(variables, inputs["pixel_values"], False, prompt)}


PROMPTED = Family(
    "transformers",
    ("PromptDepthAnythingForDepthEstimation",),
    _prompted,
    _prompted_depth,
    ("pixel_values", "prompt_depth"),
    kind="depth",
)


FAMILIES = (
    PROMPTED,
    Family("transformers", ("DepthProForDepthEstimation",), _depth_pro, _outputs, kind="depth"),
    Family("transformers", ("DepthProModel",), partial(_depth_pro, depth_head=False), _outputs, kind="depth"),
    Family("transformers", ("DPTForDepthEstimation",), _dpt, _depth, kind="depth"),
    Family("transformers", ("DepthAnythingForDepthEstimation",), _depth_anything, _depth, kind="depth"),
    Family("transformers", ("GLPNForDepthEstimation",), _glpn, _depth, kind="depth"),
)
