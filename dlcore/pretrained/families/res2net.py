"""Res2Net and ResNeSt of timm."""

from collections.abc import Mapping
from typing import Any

from dlcore.models import res2net, resnest
from dlcore.pretrained.families.resnet import stage_fields
from dlcore.pretrained.family import Family, classifier

__all__ = ["FAMILIES"]


def _of_timm(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    name = config["architecture"]
    return stage_fields(config, name, {}, is_deep=name.startswith("resnest") or name in ("res2net50d", "res2net101d"))


FAMILIES = (Family("timm", (*res2net.MODELS, *resnest.MODELS), _of_timm, classifier, ("x",)),)
