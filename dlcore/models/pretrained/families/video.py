"""Classifiers and encoders of clips of transformers: TimeSformer and ViViT."""

from collections.abc import Mapping
from typing import Any

from dlcore.models.pretrained.families.dinov2 import encoder
from dlcore.models.pretrained.families.vit import classifier
from dlcore.models.pretrained.family import Family, check_config

__all__ = ["FAMILIES"]

TIMESFORMER = {"attention_type": "divided_space_time", "hidden_act": "gelu", "qkv_bias": True, "layer_norm_eps": 1e-6}
VIVIT = {"hidden_act": "gelu_fast", "qkv_bias": True, "layer_norm_eps": 1e-6}


def _fields(config: Mapping[str, Any]) -> dict[str, Any]:
    is_classifier = config["architectures"][0].endswith("ForVideoClassification")
    return {
        "num_classes": len(config["id2label"]) if is_classifier else 0,
        "frames": config["num_frames"],
        "image_size": config["image_size"],
        "depth": config["num_hidden_layers"],
        "width": config["hidden_size"],
        "num_heads": config["num_attention_heads"],
        "mlp_features": config["intermediate_size"],
    }


def _timesformer(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, TIMESFORMER, "dlcore's TimeSformer")
    return "timesformer_base", _fields(config) | {
        "patch_size": config["patch_size"],
        "drop_path": config.get("drop_path_rate", 0.0),
    }


def _vivit(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, VIVIT, "dlcore's ViViT")
    fields = _fields(config)
    return "vivit_b_16x2", fields | {"tubelet": tuple(config["tubelet_size"]), "pooler": fields["num_classes"] == 0}


def _tokens(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    return {"last_hidden_state": model.apply(variables, inputs["pixel_values"], method="tokens")}


FAMILIES = (
    Family("transformers", ("TimesformerForVideoClassification",), _timesformer, classifier, kind="video"),
    Family("transformers", ("TimesformerModel",), _timesformer, _tokens, kind="video"),
    Family("transformers", ("VivitForVideoClassification",), _vivit, classifier, kind="video"),
    Family("transformers", ("VivitModel",), _vivit, encoder, kind="video"),
)
