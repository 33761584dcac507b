"""Networks of convolutions and attention that bear timm's names here."""

from collections.abc import Mapping
from typing import Any

from dlcore.models import metaformer
from dlcore.pretrained.family import Family, classifier, timm_arguments

__all__ = ["FAMILIES"]

MODULES = (metaformer,)


def _by_name(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    arguments = timm_arguments(config, (), {"in_chans": 3, "global_pool": "avg"})
    return config["architecture"], {"num_classes": config.get("num_classes", arguments.get("num_classes", 1000))}


FAMILIES = (Family("timm", tuple(name for module in MODULES for name in module.MODELS), _by_name, classifier, ("x",)),)
