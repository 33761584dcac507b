"""Searched mobile networks of timm, which bear the same names here, and MobileNetV1 and V2 of transformers."""

from collections.abc import Mapping
from typing import Any

from dlcore.models import mobile_variants, mobilenet_v3_variants
from dlcore.models.mobile_blocks import BlockSetting
from dlcore.models.mobile_network import read_stages
from dlcore.models.mobilenet_v2 import round_channels
from dlcore.pretrained.family import Family, check_config, classifier, map_encoder, num_classes_of, timm_arguments

__all__ = ["FAMILIES"]

NAMES = (*mobile_variants.MODELS, *mobilenet_v3_variants.MODELS)


def _by_name(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    arguments = timm_arguments(config, ("bn_eps", "pad_type"), {"in_chans": 3, "global_pool": "avg"})
    fields: dict[str, Any] = {"num_classes": num_classes_of(config)}
    if "bn_eps" in arguments:
        fields["epsilon"] = arguments["bn_eps"]
    if "pad_type" in arguments:
        fields["padding"] = {"": "both", "same": "same"}[arguments["pad_type"]]
    return config["architecture"], fields


MOBILENET_V2 = {
    "num_channels": 3,
    "first_layer_is_expansion": True,
    "hidden_act": "relu6",
}


def _dilated(stages: tuple[tuple[BlockSetting, ...], ...], output_stride: int) -> tuple[tuple[BlockSetting, ...], ...]:
    """Dilate, behind a map of stride `output_stride`, where the stages would make the map smaller."""
    stride, dilation, dilated = 2, 1, []
    for stage in stages:
        blocks = []
        for block in stage:
            if stride == output_stride:
                blocks.append(block._replace(stride=1, dilation=dilation))
                dilation *= block.stride
            else:
                blocks.append(block)
                stride *= block.stride
        dilated.append(tuple(blocks))
    return tuple(dilated)


def _mobilenet_v2(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    divisor = config.get("depth_divisible_by", 8)
    check_config(config, MOBILENET_V2 | {"min_depth": divisor}, "dlcore's MobileNetV2")
    width = config.get("depth_multiplier", 1.0)

    def scaled(channels: int) -> int:
        return round_channels(round(channels * width), divisor)

    expansion = float(config.get("expand_ratio", 6.0))

    def block_of(block: BlockSetting) -> BlockSetting:
        inverted = block.kind == "inverted"
        block = block._replace(features=scaled(block.features), divisor=divisor)
        return block._replace(expansion=expansion if inverted else 1.0, skip=inverted)

    settings = tuple(tuple(map(block_of, stage)) for stage in read_stages(mobile_variants.MOBILENET_V2))
    settings = settings[:1] + _dilated(settings[1:], config.get("output_stride", 32))
    return "mobilenetv2_100", {
        "num_classes": len(config["id2label"]) if config["architectures"][0].endswith("Classification") else 0,
        "settings": settings,
        "stem_width": scaled(32),
        "last_channel": 1280 if config.get("finegrained_output", True) and width < 1 else scaled(1280),
        "padding": "same" if config.get("tf_padding", True) else "both",
        "epsilon": config.get("layer_norm_eps", 1e-3),
        "momentum": 0.997,
        "dropout": config.get("classifier_dropout_prob", 0.8),
    }


def _mobilenet_v1(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, {"num_channels": 3, "hidden_act": "relu6"}, "dlcore's MobileNet")
    width, smallest = config.get("depth_multiplier", 1.0), config.get("min_depth", 8)

    def scaled(channels: int) -> int:
        return max(int(channels * width), smallest)

    stages = ((64, 1, 1), (128, 2, 2), (256, 2, 2), (512, 6, 2), (1024, 2, 2))
    return "mobilenetv1_100", {
        "num_classes": len(config["id2label"]) if config["architectures"][0].endswith("Classification") else 0,
        "settings": tuple((scaled(channels), blocks, stride) for channels, blocks, stride in stages),
        "stem_width": scaled(32),
        "divisor": 1,
        "padding": "same" if config.get("tf_padding", True) else "both",
        "epsilon": config.get("layer_norm_eps", 1e-3),
    }


def _encoder(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    images = inputs["pixel_values"]
    x = model.apply(variables, images, method="features")["last"]
    return {"last_hidden_state": x, "pooler_output": x.mean((1, 2))}


FAMILIES = (
    Family("timm", NAMES, _by_name, classifier, ("x",)),
    Family("transformers", ("MobileNetV2ForImageClassification",), _mobilenet_v2, classifier),
    Family("transformers", ("MobileNetV2Model",), _mobilenet_v2, _encoder),
    Family("transformers", ("MobileNetV1ForImageClassification",), _mobilenet_v1, classifier),
    Family("transformers", ("MobileNetV1Model",), _mobilenet_v1, map_encoder),
)
