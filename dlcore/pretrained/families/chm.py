"""Canopy height maps (CHMv2) of transformers: DPT with bins on a DINOv3."""

from collections.abc import Mapping
from typing import Any

from dlcore.models.feature_maps import NormalizedDINOv3
from dlcore.pretrained.family import Family, check_config, read_as
from dlcore.vision3d.binned_dpt import ReadoutDINOv3

__all__ = ["FAMILIES"]

_NORMALIZED = {"apply_layernorm": True, "reshape_hidden_states": True, "return_class_token": True}


_BIASES = {"query_bias": True, "value_bias": True, "proj_bias": True, "mlp_bias": True}


_DINOV3 = {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 12, "num_attention_heads": 6}


_DINOV3 |= {"patch_size": 16, "image_size": 224, "hidden_act": "gelu", "layer_norm_eps": 1e-5, "use_gated_mlp": False}


_DINOV3 |= {"query_bias": True, "num_register_tokens": 0}
"""What transformers' class takes where the nested configuration leaves a value out."""


BINS = {"linear": "linear", "log": "log", "chmv2_mixlog": "mixed"}


WEIGHTS = {"linear": "relu", "softmax": "softmax", "sigmoid": "sigmoid", "chmv2_mixlog": "relu"}


def _model(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    backbone = _DINOV3 | dict(config["backbone_config"])
    check_config(backbone, _NORMALIZED | _BIASES, "dlcore's CHMv2")
    check_config(config, {"patch_size": backbone["patch_size"]}, "dlcore's CHMv2")
    _, tower = read_as("DINOv3ViTModel")(backbone | {"key_bias": False})
    tower["key_bias"] = backbone.get("key_bias", False)
    readout = config.get("readout_type", "project")
    bins, norm = (config.get(f"{name}_strategy", "chmv2_mixlog") for name in ("bins", "norm"))
    for name, value, allowed in (("bins_strategy", bins, BINS), ("norm_strategy", norm, WEIGHTS)):
        if value not in allowed:
            raise ValueError(f"{name}={value!r}: not in dlcore's CHMv2; allowed: {', '.join(allowed)}")
    # The mixed bins end at an eighth of the greatest height, and their sum is multiplied by 8.
    return "chm_v2_vitl16", {
        "backbone": (NormalizedDINOv3 if readout == "ignore" else ReadoutDINOv3)(**tower),
        "stages": tuple(f"block{i}" for i in backbone["out_indices"]),
        "channels": tuple(config.get("post_process_channels") or (128, 256, 512, 1024)),
        "factors": tuple(config.get("reassemble_factors") or (4, 2, 1, 0.5)),
        "features": config.get("fusion_hidden_size", 256),
        "head_features": config.get("head_hidden_size", 128),
        "readout": readout,
        "num_bins": config.get("number_output_channels", 256),
        "min_depth": config.get("min_depth", 0.001),
        "max_depth": config.get("max_depth", 96.0) / (8 if bins == "chmv2_mixlog" else 1),
        "bins": BINS[bins],
        "weights": WEIGHTS[norm],
        "floor": 1e-8 if norm == "chmv2_mixlog" else 0.1,
        "factor": 8.0 if norm == "chmv2_mixlog" else 1.0,
    }


def _outputs(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    return {"predicted_depth": model.apply(variables, inputs["pixel_values"])}


FAMILIES = (Family("transformers", ("CHMv2ForDepthEstimation",), _model, _outputs, kind="depth"),)
