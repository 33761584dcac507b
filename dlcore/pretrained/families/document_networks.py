"""Networks of transformers for photographs of documents: PP-LCNet in three versions, TextNet and UVDoc."""

from collections.abc import Mapping, Sequence
from typing import Any

from dlcore.models.mobilenet_v2 import round_channels
from dlcore.models.pp_lcnet import ACTIVATIONS
from dlcore.models.registry import create_model
from dlcore.pretrained.family import Family, Read, check_config, classifier

__all__ = ["FAMILIES"]


def _maps(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    maps = model.apply(variables, inputs["pixel_values"])
    return {f"feature_maps.{i}": maps[stage] for i, stage in enumerate(model.stages)}


def _backbone(architecture: str, read: Read) -> Family:
    def model(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        name, fields = read({**config, "id2label": {}})
        backbone = create_model(name, **fields)
        names = ("stem", *(f"stage{i + 1}" for i in range(len(backbone.settings))))
        stages = tuple(config.get("out_features") or names[-1:])
        if not all(stage in names for stage in stages):
            raise ValueError(f"out_features={list(stages)}: no maps of {name}; allowed: {', '.join(names)}")
        return "feature_maps", {"backbone": backbone, "stages": stages}

    return Family("transformers", (architecture,), model, _maps, kind="encoder")


def _stride(stride: int | Sequence[int]) -> int | tuple[int, ...]:
    return stride if isinstance(stride, int) else tuple(stride)


def _settings(config: Mapping[str, Any]) -> tuple:
    scale, divisor = config.get("scale", 1.0), config.get("divisor")

    def scaled(channels: int) -> int:
        return channels if divisor is None else round_channels(channels * scale, divisor)

    return tuple(
        tuple((side, scaled(features), _stride(stride), gate) for side, _, features, stride, gate in blocks)
        for blocks in config["block_configs"]
    )


def _pp_lcnet(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    activation = config.get("hidden_act", "hardswish")
    if activation not in ACTIVATIONS:
        raise ValueError(f"hidden_act={activation!r}: not in dlcore's PP-LCNet; allowed: {', '.join(ACTIVATIONS)}")
    scale, divisor = config.get("scale", 1.0), config.get("divisor", 8)
    is_v3 = config["architectures"][0].startswith("PPLCNetV3")
    return "pp_lcnet_x1_0", {
        "num_classes": len(config["id2label"]),
        "settings": _settings({**config, "divisor": divisor}),
        "version": "v3" if is_v3 else "v1",
        "stem": (round_channels(config.get("stem_channels", 16) * scale, divisor),),
        "stem_strides": (config.get("stem_stride", 2),),
        "reduction": config.get("reduction", 4),
        "hidden": config.get("class_expand", 1280),
        "branches": config.get("conv_symmetric_num", 4),
        "activation": activation,
        "dropout": config.get("hidden_dropout_prob", 0.2),
    }


def _pp_lcnet_v4(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Its class computes without `scale`."""
    name, fields = _pp_lcnet({**config, "hidden_act": config.get("hidden_act", "relu"), "stem_channels": 16})
    check_config(config, {"num_channels": 3}, "dlcore's PP-LCNet")
    is_large = config.get("stem_type", "large") == "large"
    return name, fields | {
        "settings": _settings({key: value for key, value in config.items() if key != "divisor"}),
        "version": "v4",
        "stem": tuple(config.get("stem_channels", (3, 48, 96)))[1:],
        "stem_strides": tuple(config.get("stem_strides", (2, 1, 1, 2, 1))) if is_large else (2, 2),
        "affine": config.get("use_learnable_affine_block", False),
    }


TEXTNET = {"stem_num_channels": 3, "stem_act_func": "relu"}
"""Values that dlcore's network has. `image_size` changes no value."""


def _textnet(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, TEXTNET, "dlcore's TextNet")
    stages = zip(
        config["conv_layer_kernel_sizes"], config["conv_layer_strides"], config["hidden_sizes"][1:], strict=True
    )
    return "textnet_tiny", {
        "num_classes": len(config["id2label"]) if config["architectures"][0].endswith("Classification") else 0,
        "settings": tuple(
            tuple((tuple(sides), width, _stride(stride)) for sides, stride in zip(kernels, strides, strict=True))
            for kernels, strides, width in stages
        ),
        "stem_width": config.get("stem_out_channels", 64),
        "stem_kernel": config.get("stem_kernel_size", 3),
        "stem_stride": config.get("stem_stride", 2),
        "epsilon": config.get("batch_norm_eps", 1e-5),
    }


def _uvdoc(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return "uvdoc_encoder", {
        "heads": tuple(features for _, features in config["resnet_head"]),
        "blocks": tuple(tuple(tuple(block[1:]) for block in blocks) for blocks in config["resnet_configs"]),
        "settings": tuple(tuple(dilation for _, dilation in blocks) for blocks in config["stage_configs"]),
        "kernel_size": config.get("kernel_size", 5),
    }


def _logits(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """Return the logits by transformers' name for them."""
    return {"last_hidden_state": classifier(model, variables, inputs)["logits"]}


FAMILIES = (
    Family("transformers", ("PPLCNetForImageClassification",), _pp_lcnet, _logits),
    _backbone("PPLCNetBackbone", _pp_lcnet),
    _backbone("PPLCNetV3Backbone", _pp_lcnet),
    _backbone("PPLCNetV4Backbone", _pp_lcnet_v4),
    Family("transformers", ("TextNetForImageClassification",), _textnet, classifier),
    _backbone("TextNetBackbone", _textnet),
    _backbone("UVDocBackbone", _uvdoc),
)
