"""VGGs, DenseNets, HRNets, Inception v3, ByobNets and CSPNets of timm, which bear the same names here."""

from collections.abc import Mapping
from typing import Any

from dlcore.models import byobnet, cspnet, hrnet
from dlcore.pretrained.family import Family, classifier, num_classes_of, timm_arguments

__all__ = ["FAMILIES"]


def _by_name(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    name = config["architecture"]
    arguments = timm_arguments(config, ("block_config", "growth_rate"), {"in_chans": 3, "global_pool": "avg"})
    fields: dict[str, Any] = {"num_classes": num_classes_of(config)}
    fields |= {"stages": tuple(arguments["block_config"])} if "block_config" in arguments else {}
    if "growth_rate" in arguments:
        fields |= {"growth_rate": arguments["growth_rate"], "stem_width": 2 * arguments["growth_rate"]}
    return name, fields | ({"aux": False} if name == "inception_v3" else {})


TIMM = (
    *(f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")),
    *(*hrnet.MODELS, *byobnet.MODELS, *cspnet.MODELS),
    *("densenet121", "densenet161", "densenet169", "densenet201", "inception_v3"),
)


FAMILIES = (Family("timm", TIMM, _by_name, classifier, ("x",)),)
