"""ConvNeXt and ConvNeXt V2 of transformers and timm."""

from collections.abc import Mapping
from typing import Any

from dlcore.pretrained.family import Family, check_config, classifier, map_encoder, timm_arguments, without_head

__all__ = ["FAMILIES"]


def _convnext(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, {"hidden_act": "gelu", "layer_norm_eps": 1e-12}, "dlcore's ConvNeXt")
    return "convnext_tiny", {
        "num_classes": len(config["id2label"]),
        "stages": tuple(config["depths"]),
        "widths": tuple(config["hidden_sizes"]),
        "patch_size": config["patch_size"],
    }


def _convnext_v2(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return "convnextv2_tiny", _convnext(config)[1]


def _timm(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    arguments = timm_arguments(config, ("depths", "dims"), TIMM_VALUES)
    fields = {"num_classes": config.get("num_classes", 1000)}
    fields |= {"stages": tuple(arguments["depths"])} if "depths" in arguments else {}
    fields |= {"widths": tuple(arguments["dims"])} if "dims" in arguments else {}
    return config["architecture"], fields


TIMM_VALUES = {
    "in_chans": 3,
    "global_pool": "avg",
    "patch_size": 4,
    "stem_type": "patch",
    "conv_mlp": False,
    "head_norm_first": False,
    "act_layer": "gelu",
    "kernel_sizes": 7,
}
"""Arguments of timm's ConvNeXt with the only value that dlcore's has."""


SIZES = ("atto", "femto", "pico", "nano", "tiny", "base", "large", "huge")


FAMILIES = (
    Family("transformers", ("ConvNextForImageClassification",), _convnext, classifier),
    Family("transformers", ("ConvNextModel",), without_head(_convnext), map_encoder),
    Family("transformers", ("ConvNextV2Model",), without_head(_convnext_v2), map_encoder),
    Family("transformers", ("ConvNextV2ForImageClassification",), _convnext_v2, classifier),
    Family("timm", tuple(f"convnextv2_{size}" for size in SIZES), _timm, classifier, ("x",)),
    Family("timm", tuple(f"convnext_{size}" for size in ("tiny", "small", "base", "large")), _timm, classifier, ("x",)),
)
