"""Classifiers of timm that bear the same names here, with the fields of their names."""

from collections.abc import Mapping
from typing import Any

from dlcore.models import (
    cait,
    fastvit,
    mixer,
    mobilenet_v1,
    mobilenet_v4,
    nf_resnet,
    repvgg,
    resnet_v2,
    rope_vit,
    xception,
    xception_aligned,
)
from dlcore.models.pretrained.families.vit import classifier
from dlcore.models.pretrained.family import Family

__all__ = ["FAMILIES"]

MODULES = (
    *(cait, fastvit, mixer, mobilenet_v1, mobilenet_v4, nf_resnet, repvgg, resnet_v2, rope_vit),
    *(xception, xception_aligned),
)
NAMES = tuple(name for module in MODULES for name in module.MODELS if not name.endswith("_cifar"))


def _by_name(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    name, arguments = config["architecture"], config.get("model_args") or {}
    if unknown := sorted(arguments.keys() - {"num_classes"}):
        raise ValueError(f"model_args: {', '.join(unknown)} not in dlcore's {name}; allowed: num_classes")
    return name, {"num_classes": config.get("num_classes", arguments.get("num_classes", 1000))}


FAMILIES = (Family("timm", NAMES, _by_name, classifier, ("x",)),)
