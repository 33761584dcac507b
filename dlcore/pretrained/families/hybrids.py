"""Networks of convolutions and attention that bear timm's names here."""

import functools
from collections.abc import Mapping
from typing import Any

from dlcore.models import mambaout, maxxvit, metaformer, nextvit, xcit
from dlcore.pretrained.family import Family, by_name, classifier, num_classes_of, square_side, timm_arguments

__all__ = ["FAMILIES"]

MODULES = (metaformer,)

FIXED = {"in_chans": 3, "global_pool": "avg"}


def _maxxvit(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    name = config["architecture"]
    arguments = timm_arguments(config, ("img_size", "embed_dim", "depths", "stem_width", "head_hidden_size"), FIXED)
    published = config.get("pretrained_cfg") or {}
    side = arguments.get("img_size", published.get("input_size", (3, int(name.rpartition("_")[2])))[-1])
    fields: dict[str, Any] = {"num_classes": num_classes_of(config)}
    fields["image_size"] = square_side(side)
    for key, field in (("embed_dim", "widths"), ("depths", "stages"), ("stem_width", "stem_widths")):
        if key in arguments:
            value = arguments[key]
            fields[field] = (value, value) if isinstance(value, int) else tuple(value)
    if "head_hidden_size" in arguments:
        fields["head_units"] = arguments["head_hidden_size"] or None
    return name, fields


XCIT = {
    "embed_dim": "width",
    "depth": "depth",
    "num_heads": "num_heads",
    "patch_size": "patch_size",
    "mlp_ratio": "mlp_ratio",
    "cls_attn_layers": "class_depth",
    "eta": "layer_scale",
    "tokens_norm": "norm_all",
}
"""Arguments of timm's XCiT, and the fields that they are. `img_size` changes nothing."""


def _xcit(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    arguments = timm_arguments(config, (*XCIT, "img_size"), FIXED | {"global_pool": "token"})
    classes = {"num_classes": num_classes_of(config)}
    return config["architecture"], classes | {XCIT[key]: arguments[key] for key in arguments if key in XCIT}


def _stages(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    name = config["architecture"]
    names = {"depths": "stages"} | ({"dims": "widths"} if name in mambaout.MODELS else {})
    arguments = timm_arguments(config, tuple(names), FIXED)
    if name in nextvit.MODELS and "depths" in arguments and arguments["depths"][2] % 5:
        raise ValueError(f"depths={arguments['depths']}: not of Next-ViT; allowed: multiples of 5 in the third place")
    fields = {"num_classes": num_classes_of(config)}
    return name, fields | {names[key]: tuple(arguments[key]) for key in names if key in arguments}


FAMILIES = (
    Family(
        "timm",
        tuple(name for module in MODULES for name in module.MODELS),
        functools.partial(by_name, fixed=FIXED),
        classifier,
        ("x",),
    ),
    Family("timm", tuple(maxxvit.MODELS), _maxxvit, classifier, ("x",)),
    Family("timm", (*mambaout.MODELS, *nextvit.MODELS), _stages, classifier, ("x",)),
    Family("timm", tuple(xcit.MODELS), _xcit, classifier, ("x",)),
)
