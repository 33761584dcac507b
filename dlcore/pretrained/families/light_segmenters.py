"""Segmenters of transformers on mobile backbones: DeepLabV3 on MobileNetV2, MobileViT and MobileViT v2."""

from collections.abc import Mapping
from typing import Any

from dlcore.models.mobile_variants import MODELS as MOBILE_NETWORKS
from dlcore.models.mobilevit import MobileViT
from dlcore.models.mobilevit_v2 import MobileViTV2
from dlcore.pretrained.family import Family, read_as

__all__ = ["FAMILIES"]


def _head(config: Mapping[str, Any]) -> dict[str, Any]:
    return {"num_classes": len(config["id2label"]), "map_dropout": config.get("classifier_dropout_prob", 0.1)}


def _aspp(config: Mapping[str, Any], channels: int) -> dict[str, Any]:
    rates = tuple(config.get("atrous_rates", (6, 12, 18)))
    if len(rates) != 3:
        raise ValueError(f"atrous_rates={list(rates)}: not in dlcore's DeepLabV3; allowed: three rates")
    return _head(config) | {
        "channels": config.get("aspp_out_channels", channels),
        "rates": rates,
        "dropout": config.get("aspp_dropout_prob", 0.1),
    }


def _mobilevit(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    _, fields = read_as("MobileViTModel")(config)
    fields["widths"] = fields["widths"][:6]  # the head reads the map before the last convolution
    return "deeplabv3_mobilevit_s", _aspp(config, 256) | {"backbone": MobileViT(**fields)}


def _mobilevit_v2(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    _, fields = read_as("MobileViTV2Model")(config)
    return "deeplabv3_mobilevitv2_100", _aspp(config, 512) | {"backbone": MobileViTV2(**fields)}


def _mobilenet_v2(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    name, fields = read_as("MobileNetV2Model")(config)
    return "deeplabv3_mobilenet_v2", {
        **_head({"classifier_dropout_prob": 0.8} | dict(config)),
        "backbone": MOBILE_NETWORKS[name](**fields),
        "dropout": 0.0,
    }


def _logits(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    return {"logits": model.apply(variables, inputs["pixel_values"], method="scores")}


FAMILIES = (
    Family("transformers", ("MobileViTForSemanticSegmentation",), _mobilevit, _logits, kind="segmentation"),
    Family("transformers", ("MobileViTV2ForSemanticSegmentation",), _mobilevit_v2, _logits, kind="segmentation"),
    Family("transformers", ("MobileNetV2ForSemanticSegmentation",), _mobilenet_v2, _logits, kind="segmentation"),
)
