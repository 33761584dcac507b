"""ConvNeXt and ConvNeXt V2 of transformers and timm."""

from collections.abc import Mapping
from typing import Any

from dlcore.models import convnext
from dlcore.pretrained.family import (
    Family,
    check_config,
    classifier,
    map_encoder,
    num_classes_of,
    timm_arguments,
    without_head,
)

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
    name = config["architecture"]
    head = {"head_hidden_size": None} if "_mlp" not in name else {}
    head |= {"head_norm_first": "_hnf" in name, "stem_type": STEMS.get(name, "patch")}
    arguments = timm_arguments(
        config, ("depths", "dims", *(["head_hidden_size"] if "_mlp" in name else [])), TIMM_VALUES | head
    )
    fields = {"num_classes": num_classes_of(config)}
    fields |= {"stages": tuple(arguments["depths"])} if "depths" in arguments else {}
    fields |= {"widths": tuple(arguments["dims"])} if "dims" in arguments else {}
    if name in TESTS:
        return "convnext_tiny", {**TESTS[name], "epsilon": 1e-5, **fields}
    fields |= {"head_features": arguments["head_hidden_size"]} if "head_hidden_size" in arguments else {}
    if STEMS.get(name) and "dims" in arguments:
        width = arguments["dims"][0]
        tiered = max(8, (width // 2 + 4) // 8 * 8)
        fields["stem_width"] = tiered + 8 * (tiered < 0.9 * (width // 2)) if "tiered" in STEMS[name] else width
    return name, fields


STEMS = {f"convnext_{size}_ols": "overlap_tiered" for size in ("atto", "femto", "pico")}


STEMS["convnext_nano_ols"] = "overlap"


TESTS = {
    "test_convnext": {"stages": (1, 2, 4, 2), "widths": (24, 32, 48, 64), "activation": "gelu_pytorch_tanh"},
    "test_convnext2": {"stages": (1, 1, 1, 1), "widths": (32, 64, 96, 128), "activation": "gelu_pytorch_tanh"},
    "test_convnext3": {
        "stages": (1, 1, 1, 1),
        "widths": (32, 64, 96, 128),
        "kernel_sizes": (7, 5, 5, 3),
        "activation": "silu",
    },
}
"""Networks of timm's own tests."""


TIMM_VALUES = {
    "in_chans": 3,
    "global_pool": "avg",
    "patch_size": 4,
}
"""Arguments of timm's ConvNeXt with the only value that dlcore's has."""


SIZES = ("atto", "femto", "pico", "nano", "tiny", "base", "large", "huge")


FAMILIES = (
    Family("transformers", ("ConvNextForImageClassification",), _convnext, classifier),
    Family("transformers", ("ConvNextModel",), without_head(_convnext), map_encoder),
    Family("transformers", ("ConvNextV2Model",), without_head(_convnext_v2), map_encoder),
    Family("transformers", ("ConvNextV2ForImageClassification",), _convnext_v2, classifier),
    Family("timm", tuple(f"convnextv2_{size}" for size in SIZES), _timm, classifier, ("x",)),
    Family("timm", (*(name for name in convnext.MODELS), *TESTS), _timm, classifier, ("x",)),
)
