"""Networks of transformers that find keypoints of images, and match those of two: SuperPoint, SuperGlue, LightGlue."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from dlcore.pretrained.family import Family, check_config
from dlcore.vision3d.superpoint import SuperPoint

__all__ = ["FAMILIES"]

WHERE = "dlcore's network"


def _superpoint_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    check_config(config, {"keypoint_decoder_dim": 65}, WHERE)
    most = config.get("max_keypoints", -1)
    return {
        "widths": tuple(config.get("encoder_hidden_sizes", (64, 64, 128, 128))),
        "head_features": config.get("decoder_hidden_size", 256),
        "descriptor_features": config.get("descriptor_decoder_dim", 256),
        "threshold": config.get("keypoint_threshold", 0.005),
        "max_keypoints": None if most < 0 else most,
        "radius": config.get("nms_radius", 4),
        "border": config.get("border_removal_distance", 4),
    }


def _superpoint(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return "superpoint", _superpoint_fields(config)


def _superglue(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    detector = _superpoint_fields(config.get("keypoint_detector_config") or {})
    check_config(config, {"hidden_size": detector["descriptor_features"]}, WHERE)
    return "superglue", {
        "detector": SuperPoint(**detector),
        "encoder_widths": tuple(config.get("keypoint_encoder_sizes") or (32, 64, 128, 256)),
        "layers": tuple(config.get("gnn_layers_types") or ("self", "cross") * 9),
        "num_heads": config.get("num_attention_heads", 4),
        "iterations": config.get("sinkhorn_iterations", 100),
        "threshold": config.get("matching_threshold", 0.0),
    }


def _lightglue(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    detector = config.get("keypoint_detector_config") or {}
    check_config(detector, {"model_type": "superpoint"}, WHERE)
    check_config(config, {"hidden_act": "gelu"}, WHERE)
    stop, prune = config.get("depth_confidence", 0.95), config.get("width_confidence", 0.99)
    if (stop > 0) != (prune > 0):
        raise ValueError(
            f"depth_confidence={stop}: with width_confidence={prune} transformers runs no such network; "
            "allowed: both above 0, or none"
        )
    return "lightglue", {
        "detector": SuperPoint(**_superpoint_fields(detector)),
        "features": config.get("descriptor_dim", 256),
        "num_layers": config.get("num_hidden_layers", 9),
        "num_heads": config.get("num_attention_heads", 4),
        "num_kv_heads": config.get("num_key_value_heads"),
        "use_bias": config.get("attention_bias", True),
        "stop_ratio": stop if stop > 0 else None,
        "prune_confidence": prune if prune > 0 else None,
        "threshold": config.get("filter_threshold", 0.1),
    }


def _keypoints(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    images = inputs["pixel_values"]
    outputs = model.apply(variables, images)
    size = jnp.array([images.shape[-2], images.shape[-3]])  # transformers gives parts of the image's (width, height)
    return outputs | {"keypoints": outputs["keypoints"] / size}


def _without_padding(run: Callable, inputs: dict[str, jax.Array], _: Any) -> dict[str, jax.Array]:
    """Cut outputs to the most keypoints of an image."""
    outputs = run(inputs)
    count, axis = int(outputs["mask"].sum(-1).max()), outputs["mask"].ndim - 1
    return {key: value[(slice(None),) * axis + (slice(count),)] for key, value in outputs.items()}


FAMILIES = (
    Family(
        "transformers",
        ("SuperPointForKeypointDetection",),
        _superpoint,
        _keypoints,
        kind="detection",
        call=_without_padding,
    ),
    Family(
        "transformers",
        ("SuperGlueForKeypointMatching",),
        _superglue,
        _keypoints,
        kind="detection",
        call=_without_padding,
    ),
    Family(
        "transformers",
        ("LightGlueForKeypointMatching",),
        _lightglue,
        _keypoints,
        kind="detection",
        call=_without_padding,
    ),
)
