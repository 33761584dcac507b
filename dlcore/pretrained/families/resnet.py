"""Residual networks of transformers and timm."""

import re
from collections.abc import Mapping
from typing import Any

from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.models.registry import create_model
from dlcore.models.resnet import MODELS
from dlcore.pretrained.family import (
    Family,
    check_config,
    classifier,
    map_encoder,
    num_classes_of,
    timm_arguments,
    without_head,
)

__all__ = ["FAMILIES", "backbone_of", "stage_fields"]


def _of_transformers(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    if config.get("downsample_in_bottleneck") or config.get("downsample_in_first_stage"):
        raise ValueError("downsample_in_bottleneck, downsample_in_first_stage: not in dlcore's; allowed: false")
    check_config(config, {"hidden_act": "relu"}, "dlcore's ResNet")
    check_choice("layer_type", config["layer_type"], ("basic", "bottleneck"))
    is_bottleneck = config["layer_type"] == "bottleneck"
    expansion = 4 if is_bottleneck else 1
    return "resnet50" if is_bottleneck else "resnet18", {
        "num_classes": len(config["id2label"]) if "id2label" in config else 0,
        "stages": tuple(config["depths"]),
        "stem_width": config["embedding_size"],
        "widths": tuple(width // expansion for width in config["hidden_sizes"]),
    }


def backbone_of(config: Mapping[str, Any]) -> nn.Module:
    """Build the ResNet that another network of transformers reads.

    Args:
      config: content of its config.json, with a `backbone_config` of a ResNet or the name of timm's as `backbone`.

    Returns:
      The flax module.
    """
    inner = config.get("backbone_config") or {}
    if inner.get("model_type") == "resnet":
        name, fields = _of_transformers({**inner, "id2label": {}})
        return create_model(name, **fields)
    name = inner.get("backbone", config.get("backbone"))
    if name in TIMM:
        name, fields = _of_timm({"architecture": name, "num_classes": 0})
        return create_model(name, **fields)
    raise ValueError(f"backbone={name or inner.get('model_type')!r}: no ResNet; allowed: {', '.join(TIMM)}")


def _of_name(name: str) -> tuple[str, dict[str, Any]]:
    """Read a timm name that the zoo lacks, such as seresnextaa101d_32x8d: attention, filter, depth, stem and groups."""
    if name in ("senet154", "legacy_senet154"):
        return "seresnet152", SENET_154 | {"caffe": name != "senet154"}
    if name == "legacy_seresnext26_32x4d":
        return "seresnext50_32x4d", {"stages": STAGES["26"], "caffe": True}
    if name.startswith("legacy_"):
        base = name.removeprefix("legacy_")
        name, fields = (base, {}) if base in MODELS else _of_name(base)
        return name, fields | {"caffe": True}
    match = re.fullmatch(r"(eca|se)?resnex?t(aa|blur|rs)?(\d+|light)([cdst]?)(?:_(?:(\d+)x(\d+)d|gn))?", name)
    if match is None:
        raise ValueError(f"architecture={name!r}: no residual network; allowed: {', '.join(TIMM)}")
    attention, kind, depth, variant, groups, base_width = match.groups()
    fields: dict[str, Any] = {"stages": STAGES[depth]}
    if attention or kind == "rs":
        fields["use_eca" if attention == "eca" else "use_se"] = True
    if kind == "rs":
        variant, fields["se_ratio"], fields["conv_pool"] = "d", 0.25, True
    elif kind:
        fields["antialias"] = "mean" if kind == "aa" else kind
    if variant:
        fields["stem"] = "tiered" if variant == "t" else "deep"
        fields["stem_width"] = 128 if variant == "s" or depth == "201" else 64
    fields["pool_shortcut"] = variant in ("d", "t") or depth == "light"
    if groups:
        fields |= {"groups": int(groups), "base_width": int(base_width)}
    fields["use_group_norm"] = name.endswith("_gn")
    return "resnet18" if depth in ("10", "18", "34") else "resnet50", fields


def _of_timm(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    name = config["architecture"]
    return stage_fields(config, *((name, {}) if name in MODELS else _of_name(name)))


def stage_fields(
    config: Mapping[str, Any], name: str, fields: Mapping[str, Any], is_deep: bool = False
) -> tuple[str, dict[str, Any]]:
    """Read what a configuration of timm says of the stages of a residual network.

    Args:
      config: content of config.json.
      name: name of the network in the zoo.
      fields: its fields by its name.
      is_deep: whether the zoo's network has a stem of three convolutions.

    Returns:
      (name, fields).
    """
    arguments = timm_arguments(config, ("layers", "channels", "stem_width"), {"in_chans": 3, "global_pool": "avg"})
    fields = {**fields, "num_classes": num_classes_of(config)}
    fields |= {"stages": tuple(arguments["layers"])} if "layers" in arguments else {}
    fields |= {"widths": tuple(arguments["channels"])} if "channels" in arguments else {}
    if "stem" in fields or is_deep:
        fields |= {"stem_width": 2 * arguments["stem_width"]} if "stem_width" in arguments else {}
    elif "widths" in fields:
        fields["stem_width"] = 64  # timm's plain stem, whatever its `stem_width` says
    return name, fields


STAGES = {
    **{"10": (1, 1, 1, 1), "14": (1, 1, 1, 1), "18": (2, 2, 2, 2), "26": (2, 2, 2, 2), "34": (3, 4, 6, 3)},
    **{"50": (3, 4, 6, 3), "101": (3, 4, 23, 3), "152": (3, 8, 36, 3), "200": (3, 24, 36, 3), "201": (3, 24, 36, 4)},
    **{"269": (3, 30, 48, 8), "270": (4, 29, 53, 4), "350": (4, 36, 72, 4), "420": (4, 44, 87, 4)},
    "light": (1, 1, 11, 3),
}
SENET_154 = {"groups": 64, "base_width": 4, "reduction": 2, "shortcut_kernel": 3, "stem": "deep", "stem_width": 128}


TIMM = (
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "seresnet50", "wide_resnet50_2"),
    *("wide_resnet101_2", "resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d", "seresnet18", "seresnet34"),
    *("seresnet101", "seresnet152", "seresnext50_32x4d", "resnet10t", "resnet14t", "resnet18d", "resnet26"),
    *("resnet26d", "resnet26t", "resnet34d", "resnet200", "resnet200d", "resnet50_gn", "senet154", "ecaresnetlight"),
    *(f"resnet{depth}{variant}" for depth in (50, 101, 152) for variant in "cds"),
    *("resnet50t", "resnext50d_32x4d", "resnext101_32x4d", "resnext101_32x16d", "resnext101_32x32d"),
    *("ecaresnet26t", "ecaresnet50d", "ecaresnet50t", "ecaresnet101d", "ecaresnet200d", "ecaresnet269d"),
    *("ecaresnext26t_32x4d", "ecaresnext50t_32x4d", "seresnet50t", "seresnet152d", "seresnet200d", "seresnet269d"),
    *("seresnext26d_32x4d", "seresnext26t_32x4d", "seresnext101_32x4d", "seresnext101_32x8d", "seresnext101d_32x8d"),
    *("seresnext101_64x4d", "resnetblur18", "resnetblur50", "resnetblur50d", "resnetblur101d", "resnetaa34d"),
    *("resnetaa50", "resnetaa50d", "resnetaa101d", "seresnetaa50d", "seresnextaa101d_32x8d", "seresnextaa201d_32x8d"),
    *("legacy_senet154", "legacy_seresnext26_32x4d", "legacy_seresnext50_32x4d"),
    *("legacy_seresnext101_32x4d", *(f"legacy_seresnet{depth}" for depth in (18, 34, 50, 101, 152))),
    *(f"resnetrs{depth}" for depth in (50, 101, 152, 200, 270, 350, 420)),
)


def _encoder(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    outputs = map_encoder(model, variables, inputs)  # transformers' pooler keeps the map's axes
    return {key: value[:, None, None] if key == "pooler_output" else value for key, value in outputs.items()}


FAMILIES = (
    Family("transformers", ("ResNetForImageClassification",), _of_transformers, classifier),
    Family("transformers", ("ResNetModel",), without_head(_of_transformers), _encoder),
    Family("timm", TIMM, _of_timm, classifier, ("x",)),
)
