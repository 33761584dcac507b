"""Swin transformers of transformers and timm, of both versions."""

import re
from collections.abc import Mapping
from typing import Any

from dlcore.models.swin import Swin
from dlcore.pretrained.family import Family, check_config, classifier, num_classes_of, timm_arguments, without_head

__all__ = ["FAMILIES", "swin_backbone"]


def _swin(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    fixed = {"hidden_act": "gelu", "layer_norm_eps": 1e-5, "qkv_bias": True, "use_absolute_embeddings": False}
    check_config(config, fixed, "dlcore's Swin")
    return "swin_t", {
        "num_classes": len(config["id2label"]),
        "stages": tuple(config["depths"]),
        "width": config["embed_dim"],
        "num_heads": tuple(config["num_heads"]),
        "patch_size": config["patch_size"],
        "window_size": config["window_size"],
        "mlp_ratio": config["mlp_ratio"],
    }


def swin_backbone(config: Mapping[str, Any]) -> Swin:
    """Build the Swin whose maps a network of transformers reads.

    Args:
      config: `backbone_config` of the network.

    Returns:
      The backbone, which shifts its windows on a map of one window too, as transformers' does.
    """
    _, fields = _swin({**config, "id2label": {}})
    return Swin(**fields, always_shift=True)


def _swin_v2(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    _, fields = _swin(config)
    pretrained = tuple(config.get("pretrained_window_sizes", ()))[: len(config["depths"])]
    # Windows are no larger than the map of the configuration's image.
    sides = [config.get("image_size", 224) // (config["patch_size"] * 2**i) for i in range(len(config["depths"]))]
    fields["windows"] = tuple(min(fields["window_size"], side) for side in sides)
    return "swin_v2_t", fields | ({"pretrained_window": pretrained} if any(pretrained) else {})


TIMM_SIZES = {"tiny": ("t", {}), "small": ("s", {}), "base": ("b", {})}


TIMM_SIZES["large"] = ("b", {"width": 192, "num_heads": (6, 12, 24, 48)})


TIMM_SEARCHED = {"tiny": ("t", (7, 7, 14, 7)), "small": ("s", (14, 14, 14, 7)), "base": ("t", (7, 7, 14, 7))}
"""Base and windows of the Swins of a search (S3, arXiv:2111.14725); the base has 30 blocks in stage 3."""


TIMM_FIELDS = {"embed_dim": "width", "depths": "stages", "num_heads": "num_heads"}


def _timm(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    architecture = config["architecture"]
    arguments = timm_arguments(config, (*TIMM_FIELDS, "img_size"), {"in_chans": 3, "global_pool": "avg"})
    version, size = re.match(r"(swin|swinv2)_(?:s3_)?([a-z]+)_", architecture).groups()
    base, fields = TIMM_SIZES[size]
    if "_s3_" in architecture:
        base, windows = TIMM_SEARCHED[size]
        fields = {"stages": (2, 2, 30, 2)} if size == "base" else {}
    else:
        windows = (int(re.search(r"_window(?:\d+to)?(\d+)", architecture)[1]),) * 4
    fields = fields | {"num_classes": num_classes_of(config)}
    for name, field in TIMM_FIELDS.items():
        if name in arguments:
            value = arguments[name]
            fields[field] = value if isinstance(value, int) else tuple(value)
    side = arguments.get("img_size") or int(re.search(r"(\d+)$", architecture)[1])
    side = side if isinstance(side, int) else side[0]
    # timm's windows are no larger than the map.
    windows = windows[: len(fields.get("stages", windows))]
    fields["windows"] = tuple(min(window, side // (4 * 2**i)) for i, window in enumerate(windows))
    if "_192to" in architecture:
        fields["pretrained_window"] = (12, 12, 12, 6)
    return f"{'swin' if version == 'swin' else 'swin_v2'}_{base}", fields


def _tokens(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    (images,) = inputs.values()
    x = model.apply(variables, images, method="last_map")
    return {"last_hidden_state": x.reshape(len(x), -1, x.shape[-1])} | classifier(model, variables, inputs)


FAMILIES = (
    Family("transformers", ("SwinForImageClassification",), _swin, classifier),
    Family("transformers", ("SwinModel",), without_head(_swin), _tokens),
    Family("transformers", ("Swinv2Model",), without_head(_swin_v2), _tokens),
    Family("transformers", ("Swinv2ForImageClassification",), _swin_v2, classifier),
    Family("timm", ("swin_*_patch4_window*", "swin_s3_*", "swinv2_*_window*"), _timm, classifier, ("x",)),
)
