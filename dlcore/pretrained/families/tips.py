"""TIPS v2 of transformers: its image tower, as an encoder and as a backbone."""

from collections.abc import Mapping
from typing import Any

from dlcore.pretrained.families.backbones import FAMILIES as BACKBONES
from dlcore.pretrained.families.dinov2 import dinov2_fields, encoder
from dlcore.pretrained.family import Family, check_config, square_side

__all__ = ["FAMILIES", "tower_fields"]


def tower_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """Read the image tower: a DINOv2 with registers whose positions are interpolated bilinearly.

    Args:
      config: its configuration.

    Returns:
      Fields of `dlcore.models.dinov2.DINOv2`.
    """
    check_config(config, {"qkv_bias": True}, "dlcore's TIPS")
    sides = {name: square_side(config[name]) for name in ("image_size", "patch_size")}
    return dinov2_fields({**config, **sides}) | {"linear_positions": True}


def _tower(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return "dinov2_base", tower_fields(config)


DINOV2 = next(family for family in BACKBONES if "Dinov2WithRegistersBackbone" in family.architectures)


def _backbone(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    name, fields = DINOV2.model(config)
    return name, fields | {"backbone": type(fields["backbone"])(**tower_fields(config))}


FAMILIES = (
    Family("transformers", ("Tipsv2VisionModel",), _tower, encoder, kind="encoder"),
    DINOV2._replace(architectures=("Tipsv2VisionBackbone",), model=_backbone),
)
