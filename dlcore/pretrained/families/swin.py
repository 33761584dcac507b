"""Swin transformers of transformers and timm, of both versions."""

import re
from collections.abc import Mapping
from typing import Any

from dlcore.pretrained.family import Family, check_config, classifier, timm_arguments, without_head

__all__ = ["FAMILIES"]


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


def _swin_v2(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    _, fields = _swin(config)
    windows = tuple(config.get("pretrained_window_sizes", ()))[: len(config["depths"])]
    return "swin_v2_t", fields | ({"pretrained_window": windows} if any(windows) else {})


TIMM_SIZES = {"tiny": "t", "small": "s", "base": "b"}


TIMM_FIELDS = {"embed_dim": "width", "depths": "stages", "num_heads": "num_heads"}


def _timm(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    architecture = config["architecture"]
    arguments = timm_arguments(config, tuple(TIMM_FIELDS), {"in_chans": 3, "global_pool": "avg"})
    version, size, window = re.match(r"(swin|swinv2)_([a-z]+)_(?:patch4_)?window(\d+)_", architecture).groups()
    fields = {"num_classes": config.get("num_classes", 1000), "window_size": int(window)}
    for name, field in TIMM_FIELDS.items():
        if name in arguments:
            value = arguments[name]
            fields[field] = value if isinstance(value, int) else tuple(value)
    return f"{'swin' if version == 'swin' else 'swin_v2'}_{TIMM_SIZES[size]}", fields


def _tokens(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    (images,) = inputs.values()
    x = model.apply(variables, images, method="last_map")
    return {"last_hidden_state": x.reshape(len(x), -1, x.shape[-1])} | classifier(model, variables, inputs)


FAMILIES = (
    Family("transformers", ("SwinForImageClassification",), _swin, classifier),
    Family("transformers", ("SwinModel",), without_head(_swin), _tokens),
    Family("transformers", ("Swinv2Model",), without_head(_swin_v2), _tokens),
    Family("transformers", ("Swinv2ForImageClassification",), _swin_v2, classifier),
    # In these the window is at most the smallest map's side; timm shrinks larger windows.
    Family("timm", tuple(f"swin_{size}_patch4_window7_224" for size in TIMM_SIZES), _timm, classifier, ("x",)),
    Family("timm", ("swin_base_patch4_window12_384",), _timm, classifier, ("x",)),
    Family("timm", tuple(f"swinv2_{size}_window8_256" for size in TIMM_SIZES), _timm, classifier, ("x",)),
)
