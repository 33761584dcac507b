"""Residual networks of transformers and timm."""

from collections.abc import Mapping
from typing import Any

from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.models.registry import create_model
from dlcore.pretrained.family import Family, check_config, classifier, map_encoder, timm_arguments, without_head

__all__ = ["FAMILIES", "backbone_of"]


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
        return create_model(name, num_classes=0)
    raise ValueError(f"backbone={name or inner.get('model_type')!r}: no ResNet; allowed: {', '.join(TIMM)}")


def _of_timm(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    name = config["architecture"]
    arguments = timm_arguments(config, ("layers", "channels", "stem_width"), {"in_chans": 3, "global_pool": "avg"})
    fields = {"num_classes": config.get("num_classes", 1000)}
    fields |= {"stages": tuple(arguments["layers"])} if "layers" in arguments else {}
    fields |= {"widths": tuple(arguments["channels"])} if "channels" in arguments else {}
    if "widths" in fields:
        fields["stem_width"] = 64  # timm's plain stem, whatever its `stem_width` says
    return name, fields


TIMM = (
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "seresnet50", "wide_resnet50_2"),
    *("wide_resnet101_2", "resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d"),
)


def _encoder(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    outputs = map_encoder(model, variables, inputs)  # transformers' pooler keeps the map's axes
    return {key: value[:, None, None] if key == "pooler_output" else value for key, value in outputs.items()}


FAMILIES = (
    Family("transformers", ("ResNetForImageClassification",), _of_transformers, classifier),
    Family("transformers", ("ResNetModel",), without_head(_of_transformers), _encoder),
    Family("timm", TIMM, _of_timm, classifier, ("x",)),
)
