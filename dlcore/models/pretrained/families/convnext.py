"""ConvNeXt of transformers."""

from collections.abc import Mapping
from typing import Any

from dlcore.models.pretrained.families.vit import classifier
from dlcore.models.pretrained.family import Family

__all__ = ["FAMILIES"]


def _convnext(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return "convnext_tiny", {
        "num_classes": len(config["id2label"]),
        "stages": tuple(config["depths"]),
        "widths": tuple(config["hidden_sizes"]),
        "patch_size": config["patch_size"],
    }


FAMILIES = (Family("transformers", ("ConvNextForImageClassification",), _convnext, classifier),)
