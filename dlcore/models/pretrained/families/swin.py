"""Swin transformers of transformers, of both versions."""

from collections.abc import Mapping
from typing import Any

from dlcore.models.pretrained.families.vit import classifier
from dlcore.models.pretrained.family import Family

__all__ = ["FAMILIES"]


def _swin(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return "swin_t", {
        "num_classes": len(config["id2label"]),
        "stages": tuple(config["depths"]),
        "width": config["embed_dim"],
        "num_heads": tuple(config["num_heads"]),
        "patch_size": config["patch_size"],
        "window_size": config["window_size"],
        "mlp_ratio": config["mlp_ratio"],
    }


def _swin_v2(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    _, fields = _swin(config)
    windows = tuple(config.get("pretrained_window_sizes", ()))[: len(config["depths"])]
    return "swin_v2_t", fields | ({"pretrained_window": windows} if any(windows) else {})


FAMILIES = (
    Family("transformers", ("SwinForImageClassification",), _swin, classifier),
    Family("transformers", ("Swinv2ForImageClassification",), _swin_v2, classifier),
)
