"""RegNets of transformers and timm."""

from collections.abc import Mapping
from typing import Any

from dlcore.choices import check_choice
from dlcore.pretrained.family import Family, check_config, classifier, num_classes_of, timm_arguments

__all__ = ["FAMILIES"]


def _of_transformers(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(
        config, {"hidden_act": "relu", "downsample_in_first_stage": True, "num_channels": 3}, "dlcore's RegNet"
    )
    kind = config.get("layer_type", "y")
    check_choice("layer_type", kind, ("x", "y"))
    has_head = config["architectures"][0].endswith("ForImageClassification")
    return "regnet_y_400mf" if kind == "y" else "regnet_x_400mf", {
        "num_classes": len(config["id2label"]) if has_head else 0,
        "stem_width": config.get("embedding_size", 32),
        "stages": tuple(config.get("depths", (2, 6, 12, 2))),
        "widths": tuple(config.get("hidden_sizes", (128, 192, 512, 1088))),
        "group_width": config.get("groups_width", 64),
    }


def _base(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    (images,) = inputs.values()
    last = model.apply(variables, images, method="features")[f"block{len(model.stages)}"]
    return {"last_hidden_state": last, "pooler_output": last.mean((1, 2), keepdims=True)}


def _of_timm(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    name = config["architecture"]
    arguments = timm_arguments(config, (*ARGUMENTS, "num_features"), {"in_chans": 3, "global_pool": "avg"})
    kind, _, size = name.removeprefix("regnet").partition("_")
    size = size.removesuffix("_tv").removesuffix("_h")
    line = (Z if kind == "z" else Y if kind in "yv" else X)[size]
    fields = {
        "num_classes": num_classes_of(config),
        "nearest": not name.endswith("_tv"),
    }
    fields |= dict(zip(ARGUMENTS.values(), (*line, 32), strict=True))
    fields |= {ARGUMENTS[key]: arguments[key] for key in ARGUMENTS.keys() & arguments.keys()}
    if kind in "vz":
        fields["activation"] = "silu"
    if kind == "v":
        fields |= {"pre_activation": True, "pool_shortcut": size == "064"}
    if kind == "z":
        last = 1536 if name.endswith("_h") else 0
        fields |= {"expansion": 4, "linear": True, "last_width": arguments.get("num_features", last)}
    elif arguments.get("num_features"):
        raise ValueError(f"num_features={arguments['num_features']}: not in dlcore's {name}; allowed: 0")
    return "regnet_x_400mf" if kind == "x" else "regnet_y_400mf", fields


ARGUMENTS = {
    **{"depth": "depth", "w0": "width", "wa": "slope", "wm": "step", "group_size": "group_width"},
    "stem_width": "stem_width",
}
"""Names of timm's arguments, and ours."""

X = {
    "002": (13, 24, 36.44, 2.49, 8),
    "004": (22, 24, 24.48, 2.54, 16),
    "006": (16, 48, 36.97, 2.24, 24),
    "008": (16, 56, 35.73, 2.28, 16),
    "016": (18, 80, 34.01, 2.25, 24),
    "032": (25, 88, 26.31, 2.25, 48),
    "040": (23, 96, 38.65, 2.43, 40),
    "064": (17, 184, 60.83, 2.07, 56),
    "080": (23, 80, 49.56, 2.88, 120),
    "120": (19, 168, 73.36, 2.37, 112),
    "160": (22, 216, 55.59, 2.1, 128),
    "320": (23, 320, 69.86, 2.0, 168),
}
Y = {
    "002": (13, 24, 36.44, 2.49, 8),
    "004": (16, 48, 27.89, 2.09, 8),
    "006": (15, 48, 32.54, 2.32, 16),
    "008": (14, 56, 38.84, 2.4, 16),
    "016": (27, 48, 20.71, 2.65, 24),
    "032": (21, 80, 42.63, 2.66, 24),
    "040": (22, 96, 31.41, 2.24, 64),
    "064": (25, 112, 33.22, 2.27, 72),
    "080": (17, 192, 76.82, 2.19, 56),
    "120": (19, 168, 73.36, 2.37, 112),
    "160": (18, 200, 106.23, 2.48, 112),
    "320": (20, 232, 115.89, 2.53, 232),
    "640": (20, 352, 147.48, 2.4, 328),
    "1280": (27, 456, 160.83, 2.52, 264),
    "2560": (27, 640, 230.83, 2.53, 373),
}
Z = {"040": (28, 48, 14.5, 2.226, 8)}
"""Depth, w_0, w_a, w_m and channels of a group, by timm's name of the size."""


TIMM = (
    *(f"regnetx_{size}" for size in X),
    *(f"regnety_{size}" for size in Y),
    *("regnetx_004_tv", "regnety_008_tv", "regnety_080_tv", "regnetv_040", "regnetv_064", "regnetz_040"),
    "regnetz_040_h",
)


FAMILIES = (
    Family("transformers", ("RegNetForImageClassification",), _of_transformers, classifier),
    Family("transformers", ("RegNetModel",), _of_transformers, _base),
    Family("timm", TIMM, _of_timm, classifier, ("x",)),
)
