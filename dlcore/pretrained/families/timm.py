"""Classifiers of timm that bear the same names here, with the fields of their names, and its EfficientNets."""

from collections.abc import Mapping
from typing import Any

from dlcore.models import (
    cait,
    fastvit,
    mixer,
    mobilenet_v1,
    mobilenet_v4,
    mobilevit,
    nf_resnet,
    repvgg,
    rope_vit,
    xception,
    xception_aligned,
)
from dlcore.pretrained.family import Family, by_name, classifier

__all__ = ["FAMILIES"]

MODULES = (
    *(cait, fastvit, mixer, mobilenet_v1, mobilenet_v4, mobilevit, nf_resnet, repvgg, rope_vit),
    *(xception, xception_aligned),
)


NAMES = tuple(name for module in MODULES for name in module.MODELS if not name.endswith("_cifar"))


def _efficientnet(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    name, fields = by_name(config)
    as_tensorflow = {"epsilon": 1e-3, "padding": "same"} if name.startswith("tf_") else {"epsilon": 1e-5}
    return name.removeprefix("tf_").replace("netv2_", "net_v2_"), fields | as_tensorflow


SIZES = (*(f"net_b{i}" for i in range(8)), *(f"netv2_{size}" for size in "sml"))


FAMILIES = (
    Family("timm", NAMES, by_name, classifier, ("x",)),
    Family(
        "timm",
        tuple(f"{kind}{size}" for size in SIZES for kind in ("efficient", "tf_efficient")),
        _efficientnet,
        classifier,
        ("x",),
    ),
)
