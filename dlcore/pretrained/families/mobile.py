"""Searched mobile networks of timm, which bear the same names here."""

from collections.abc import Mapping
from typing import Any

from dlcore.models import mobile_variants, mobilenet_v3_variants
from dlcore.pretrained.family import Family, classifier, timm_arguments

__all__ = ["FAMILIES"]

NAMES = (*mobile_variants.MODELS, *mobilenet_v3_variants.MODELS)


def _by_name(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    arguments = timm_arguments(config, ("bn_eps", "pad_type"), {"in_chans": 3, "global_pool": "avg"})
    fields: dict[str, Any] = {"num_classes": config.get("num_classes", arguments.get("num_classes", 1000))}
    if "bn_eps" in arguments:
        fields["epsilon"] = arguments["bn_eps"]
    if "pad_type" in arguments:
        fields["padding"] = {"": "both", "same": "same"}[arguments["pad_type"]]
    return config["architecture"], fields


FAMILIES = (Family("timm", NAMES, _by_name, classifier, ("x",)),)
