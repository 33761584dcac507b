"""Pre-activation residual networks of timm, and BiT of transformers."""

import re
from collections.abc import Mapping
from typing import Any

from dlcore.models.resnet_v2 import MODELS
from dlcore.pretrained.family import Family, check_config, classifier, num_classes_of, timm_arguments

__all__ = ["FAMILIES"]


BIT = {"stem": "bit", "norm": "group", "standardize": True}


FIXED = {
    "layer_type": "preactivation",
    "hidden_act": "relu",
    "global_padding": None,
    "embedding_dynamic_padding": False,
    "output_stride": 32,
    "width_factor": 1,
    "drop_path_rate": 0.0,
    "num_channels": 3,
}
"""Values of BiT's configuration; ViT hybrids have other ones of the first four in their backbone."""


def _of_transformers(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, FIXED, "dlcore's BiT")
    has_head = config["architectures"][0].endswith("ForImageClassification")
    return "resnetv2_50", BIT | {
        "num_classes": len(config["id2label"]) if has_head else 0,
        "width": config.get("embedding_size", 64),
        "stages": tuple(config.get("depths", (3, 4, 6, 3))),
        "widths": tuple(width // 4 for width in config.get("hidden_sizes", (256, 512, 1024, 2048))),
        "num_groups": config.get("num_groups", 32),
    }


def _base(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    (images,) = inputs.values()
    last = model.apply(variables, images, method="features")[f"stage{len(model.stages)}"]
    return {"last_hidden_state": last, "pooler_output": last.mean((1, 2), keepdims=True)}


def _of_timm(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    name = config["architecture"]
    arguments = timm_arguments(config, ("layers", "channels", "stem_chs"), {"in_chans": 3, "global_pool": "avg"})
    fields: dict[str, Any] = {"num_classes": num_classes_of(config)}
    if name in MODELS and arguments.keys() <= {"num_classes", "in_chans", "global_pool"}:
        return name, fields
    match = re.fullmatch(r"resnetv2_(\d+)(?:x(\d)_bit|(d?)(?:_(gn|evos))?)", name)
    assert match is not None, name
    depth, factor, variant, norm = match.groups()
    is_basic, factor = depth in ("18", "34"), int(factor or 1)
    fields |= {
        "stages": tuple(arguments.get("layers", STAGES[depth])),
        "width": factor * arguments.get("stem_chs", 64),
        "stem": "deep" if variant else "imagenet",
        "pool_shortcut": bool(variant),
        **(BIT if name.endswith("bit") else {}),
        **({"norm": "group" if norm == "gn" else "evonorm"} if norm else {}),
    }
    if "channels" in arguments:
        fields["widths"] = tuple(factor * width // (1 if is_basic else 4) for width in arguments["channels"])
    return "preact_resnet20_cifar" if is_basic else "resnetv2_50", fields


STAGES = {"18": (2, 2, 2, 2), "34": (3, 4, 6, 3), "50": (3, 4, 6, 3), "101": (3, 4, 23, 3), "152": (3, 8, 36, 3)}


TIMM = (
    *(f"resnetv2_{size}" for size in ("18", "18d", "34", "34d", "50", "50d", "101", "101d", "152", "152d")),
    *(f"resnetv2_{size}_bit" for size in ("50x1", "50x3", "101x1", "101x3", "152x2", "152x4")),
    *("resnetv2_50d_gn", "resnetv2_50d_evos"),
)


FAMILIES = (
    Family("transformers", ("BitForImageClassification",), _of_transformers, classifier),
    Family("transformers", ("BitModel",), _of_transformers, _base),
    Family("timm", TIMM, _of_timm, classifier, ("x",)),
)
