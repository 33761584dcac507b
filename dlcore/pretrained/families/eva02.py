"""EVA-02 of timm."""

from collections.abc import Mapping
from typing import Any

from dlcore.pretrained.families.vit import timm_fields
from dlcore.pretrained.family import Family, classifier

__all__ = ["FAMILIES"]


def _eva02(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    name, fields = config["architecture"], timm_fields(config, "avg")
    is_gated_with_norm = "_base_" in name or "_large_" in name
    fields["mlp_features"] = int(fields["width"] * config.get("model_args", {}).get("mlp_ratio", 4 * 2 / 3))
    return "eva02_tiny_patch14_224", fields | {"mlp_norm": is_gated_with_norm}


FAMILIES = (Family("timm", tuple(f"eva02_*_patch14_{side}" for side in (224, 336, 448)), _eva02, classifier, ("x",)),)
