"""PP-OCR's text detectors of transformers: two of version 5, two of version 6."""

from collections.abc import Mapping
from typing import Any

from dlcore.choices import check_choice
from dlcore.models.feature_maps import FeatureMaps
from dlcore.pretrained.defaults import fill_defaults
from dlcore.pretrained.family import Family, check_config, find_family

__all__ = ["FAMILIES"]

WHERE = "dlcore's PP-OCR"
BACKBONES = {"hgnet_v2": "HGNetV2Backbone", "pp_lcnet_v3": "PPLCNetV3Backbone", "pp_lcnet_v4": "PPLCNetV4Backbone"}
SERVER = {"model_type": "hgnet_v2", "out_features": ["stage1", "stage2", "stage3", "stage4"]}
MOBILE = {"model_type": "pp_lcnet_v3", "out_features": ["stage2", "stage3", "stage4", "stage5"], "scale": 0.75}
MOBILE |= {"divisor": 16}
"""Backbones where the configuration says nothing."""
BLOCKS_V3 = [
    [[3, 16, 32, 1, False]],
    [[3, 32, 64, 2, False], [3, 64, 64, 1, False]],
    [[3, 64, 128, 2, False], [3, 128, 128, 1, False]],
    [[3, 128, 256, 2, False], *[[5, 256, 256, 1, False]] * 4],
    [[5, 256, 512, 2, True], [5, 512, 512, 1, True], *[[5, 512, 512, 1, False]] * 2],
]
INTRACLASS = {name: [[1, 1], [1, 1], [0, 0]] for name in ("reduce_channel", "return_channel")}
for _ratio, _side in {"long": 7, "mid": 5, "short": 3}.items():
    for _name, _sides in {
        "vertical_long_to_small_conv": [_side, 1],
        "horizontal_small_to_long_conv": [1, _side],
        "symmetric_conv_long": [_side, _side],
    }.items():
        INTRACLASS[f"{_name}_{_ratio}ratio"] = [_sides, [1, 1], [n // 2 for n in _sides]]
"""{layer: [sides of the kernel, strides, padding]}."""


def _maps(config: Mapping[str, Any], default: Mapping[str, Any] | None) -> dict[str, Any]:
    """Read the backbone and its four maps; what `stage_out_channels` says follows from the blocks."""
    backbone = config.get("backbone_config") or fill_defaults({"backbone": default})["backbone"]
    kind = backbone.get("model_type")
    check_choice("backbone_config.model_type", kind, tuple(BACKBONES))
    backbone = {**({"block_configs": BLOCKS_V3} if kind == "pp_lcnet_v3" else {}), **backbone}
    backbone |= {"architectures": [BACKBONES[kind]], "id2label": {}}
    fields = find_family(backbone).model(backbone)[1]
    maps = FeatureMaps(**fields)
    if len(maps.stages) != 4:
        raise ValueError(f"backbone_config.out_features={list(maps.stages)}: not in {WHERE}; allowed: four maps")
    return {"backbone": maps.backbone, "stages": maps.stages}


def _head(config: Mapping[str, Any]) -> dict[str, Any]:
    check_config(config, {"interpolate_mode": "nearest"}, WHERE)
    return {"features": config["neck_out_channels"], "kernels": tuple(config.get("kernel_list") or (3, 2, 2))}


def _paths(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    is_server = config["architectures"][0].startswith("PPOCRV5")
    config = {"scale_factor_list": None, "neck_out_channels": 256, **config}
    fixed = {"intraclass_block_number": 4, "scale_factor_list": [1, 2, 4, 8]}
    fixed |= {"scale_factor": 2, "hidden_act": "relu"} if is_server else {}
    check_config({**config, "scale_factor_list": config["scale_factor_list"] or [1, 2, 4, 8]}, fixed, WHERE)
    blocks = {
        name: [[n, n] if isinstance(n, int) else list(n) for n in values]
        for name, values in (config.get("intraclass_block_config") or {}).items()
    }
    check_config(blocks, INTRACLASS, f"{WHERE}, in intraclass_block_config")
    fields = {"reduction": config.get("reduce_factor", 2), "use_bias": not is_server, "refined": is_server}
    return "pp_ocr_v5_server", fields | _head(config) | _maps(config, SERVER if is_server else None)


def _residual(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    is_mobile = config["architectures"][0].startswith("PPOCRV5")
    config = {"neck_out_channels": 96, "layer_list_out_channels": [12, 18, 42, 360], **config}
    fields = _head(config) | _maps(config, MOBILE if is_mobile else None)
    fields |= {"reduction": config.get("reduction", 4), "refined": False}
    if is_mobile:
        return "pp_ocr_v5_server", fields | {"neck": "residual", "widths": tuple(config["layer_list_out_channels"])}
    return "pp_ocr_v5_server", fields | {"neck": "separable", "kernel": config.get("dilated_kernel_size", 7)}


def _probabilities(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    return {"last_hidden_state": model.apply(variables, inputs["pixel_values"])}


PATHS = ("PPOCRV5ServerDetForObjectDetection", "PPOCRV6MediumDetForObjectDetection")
RESIDUAL = ("PPOCRV5MobileDetForObjectDetection", "PPOCRV6SmallDetForObjectDetection")


FAMILIES = (
    Family("transformers", PATHS, _paths, _probabilities, kind="segmentation"),
    Family("transformers", RESIDUAL, _residual, _probabilities, kind="segmentation"),
)
