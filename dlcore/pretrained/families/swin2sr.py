"""Swin2SR of transformers: super-resolution and repair of images."""

from collections.abc import Mapping
from typing import Any

from dlcore.choices import check_choice
from dlcore.pretrained.family import Family, check_config, square_side

__all__ = ["FAMILIES"]

FIXED = {"hidden_act": "gelu", "layer_norm_eps": 1e-5, "qkv_bias": True, "use_absolute_embeddings": False}
UPSAMPLERS = {"pixelshuffle": "pixelshuffle", "pixelshuffledirect": "pixelshuffledirect"}
UPSAMPLERS |= {"nearest+conv": "nearest+conv", "": "none", None: "none"}


def _swin2sr(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, FIXED, "dlcore's Swin2SR")
    check_choice("upsampler", config.get("upsampler", "pixelshuffle"), tuple(UPSAMPLERS))
    patch, window = square_side(config["patch_size"]), config["window_size"]
    grid = square_side(config["image_size"]) // patch
    if grid < window:
        raise ValueError(f"window_size={window}: more than image_size's {grid} patches; allowed: at most {grid}")
    channels = config.get("num_channels", 3)
    return "swin2sr_classical_x2", {
        "channels": channels,
        "out_channels": config.get("num_channels_out") or channels,
        "patch_size": patch,
        "width": config["embed_dim"],
        "stages": tuple(config["depths"]),
        "num_heads": tuple(config["num_heads"]),
        "window_size": window,
        "shift": grid > window,
        "mlp_ratio": config["mlp_ratio"],
        "upscale": config["upscale"],
        "upsampler": UPSAMPLERS[config.get("upsampler", "pixelshuffle")],
        "group_conv": config.get("resi_connection", "1conv"),
        "image_range": config.get("img_range", 1.0),
    }


def _base(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    name, fields = _swin2sr(config)
    return name, fields | {"upsampler": None}


def _reconstruction(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    return {"reconstruction": model.apply(variables, inputs["pixel_values"])}


def _features(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    return {"last_hidden_state": model.apply(variables, inputs["pixel_values"], method="features")}


FAMILIES = (
    Family("transformers", ("Swin2SRForImageSuperResolution",), _swin2sr, _reconstruction, kind="generative"),
    Family("transformers", ("Swin2SRModel",), _base, _features, kind="generative"),
)
