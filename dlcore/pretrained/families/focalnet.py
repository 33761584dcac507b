"""FocalNet of transformers and timm."""

from collections.abc import Mapping
from typing import Any

from dlcore.models import focalnet
from dlcore.pretrained.family import Family, check_config, classifier, num_classes_of, timm_arguments, token_encoder

__all__ = ["FAMILIES"]

FOCALNET = {"num_channels": 3, "patch_size": 4, "hidden_act": "gelu", "hidden_dropout_prob": 0.0}
"""Values of the configuration that dlcore's network has. `image_size` and `hidden_sizes` change no value."""


def _focalnet(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, FOCALNET, "dlcore's FocalNet")
    has_classes = config["architectures"][0].endswith("Classification")
    return "focalnet_tiny_srf", {
        "num_classes": len(config["id2label"]) if has_classes else 0,
        "stages": tuple(config["depths"]),
        "width": config["embed_dim"],
        "levels": tuple(config["focal_levels"]),
        "windows": tuple(config["focal_windows"]),
        "overlap": config.get("use_conv_embed", False),
        "post_norm": config.get("use_post_layernorm", False),
        "norm_inside": config.get("use_post_layernorm_in_modulation", False),
        "mean_levels": config.get("normalize_modulator", False),
        "mlp_ratio": config.get("mlp_ratio", 4.0),
        "layer_scale": config.get("layerscale_value", 1e-4) if config.get("use_layerscale") else None,
        "drop_path": config.get("drop_path_rate", 0.1),
        "epsilon": config.get("layer_norm_eps", 1e-5),
    }


TIMM = {
    "focal_levels": "levels",
    "focal_windows": "windows",
    "use_overlap_down": "overlap",
    "use_post_norm": "post_norm",
    "use_post_norm_in_modulation": "norm_inside",
    "normalize_modulator": "mean_levels",
    "layerscale_value": "layer_scale",
    "mlp_ratio": "mlp_ratio",
}
"""Arguments of timm's FocalNet, and the fields that they are."""


def _of_timm(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    arguments = timm_arguments(config, tuple(TIMM), {"in_chans": 3, "global_pool": "avg", "head_hidden_size": None})
    fields = {TIMM[key]: arguments[key] for key in arguments if key in TIMM}
    fields |= {key: tuple(fields[key]) for key in ("levels", "windows") if key in fields}
    return config["architecture"], fields | {"num_classes": num_classes_of(config)}


FAMILIES = (
    Family("transformers", ("FocalNetForImageClassification",), _focalnet, classifier),
    Family("transformers", ("FocalNetModel",), _focalnet, token_encoder),
    Family("timm", tuple(focalnet.MODELS), _of_timm, classifier, ("x",)),
)
