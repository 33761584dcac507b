"""Pixio of transformers (arXiv:2512.15715): a ViT with several class tokens, trained by masked autoencoding.

Its class tokens after the first are registers here, with their rows of the table of positions added to them.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from dlcore.models import dinov2, feature_maps
from dlcore.models.dinov2 import DINOv2
from dlcore.models.feature_maps import FeatureMaps
from dlcore.pretrained.family import Family, check_config, square_side
from dlcore.vision3d.dpt import NormalizedDINOv2

__all__ = ["FAMILIES"]

WHERE = "dlcore's Pixio"
NAMES = (
    (r"^layers\.", "encoder.layer."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
)


def _fields(config: Mapping[str, Any]) -> dict[str, Any]:
    check_config(config, {"hidden_act": "gelu", "qkv_bias": True}, WHERE)
    width = config.get("hidden_size", 1280)
    return {
        "num_classes": 0,
        "image_size": square_side(config.get("image_size", 256)),
        "patch_size": square_side(config.get("patch_size", 16)),
        "depth": config.get("num_hidden_layers", 32),
        "width": width,
        "num_heads": config.get("num_attention_heads", 16),
        "mlp_features": int(width * config.get("mlp_ratio", 4)),
        "layer_scale": None,
        "num_registers": config.get("n_cls_tokens", 8) - 1,
        "epsilon": config.get("layer_norm_eps", 1e-6),
    }


def _model(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return "dinov2_base", _fields(config)


def _backbone(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, {"reshape_hidden_states": True}, WHERE)
    fields, kind = _fields(config), NormalizedDINOv2 if config.get("apply_layernorm", True) else DINOv2
    names = config.get("out_features") or [f"stage{fields['depth']}"]
    allowed = [f"stage{i + 1}" for i in range(fields["depth"])]
    for name in names:
        if name not in allowed:
            raise ValueError(f"out_features={name!r}: no map of {WHERE}; allowed: stage1 to {allowed[-1]}")
    stages = tuple(name.replace("stage", "block") for name in names)
    return "feature_maps", {"backbone": kind(**fields), "stages": stages}


def _load(model: Any, config: Mapping[str, Any], arrays: Mapping[str, Any]) -> Any:
    """Name arrays as DINOv2's, and split the class tokens. A backbone's own norm replaces that of its encoder."""
    entries = {}
    for key in arrays:
        if key != "pixio.layernorm.weight" and key != "pixio.layernorm.bias":
            name = key.removeprefix("pixio.")
            for pattern, replacement in NAMES:
                name = re.sub(pattern, replacement, name)
            entries[name] = arrays[key]
    tokens, table = (np.asarray(entries[f"embeddings.{part}"]) for part in ("cls_token", "position_embeddings"))
    count = tokens.shape[1]
    entries["embeddings.cls_token"] = tokens[:, :1]
    entries["embeddings.position_embeddings"] = np.delete(table, slice(1, count), axis=1)
    if count > 1:
        entries["embeddings.register_tokens"] = tokens[:, 1:] + table[:, 1:count]
    if isinstance(model, FeatureMaps):
        return feature_maps.from_torch_names(model, entries)
    return dinov2.from_torch_names(model, entries)


def _tokens(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    tokens = model.apply(variables, inputs["pixel_values"], method="tokens")
    return {"last_hidden_state": tokens, "pooler_output": tokens[:, : 1 + model.num_registers].mean(1)}


def _maps(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    maps = model.apply(variables, inputs["pixel_values"])
    return {f"feature_maps.{i}": maps[stage] for i, stage in enumerate(model.stages)}


FAMILIES = (
    Family("transformers", ("PixioModel",), _model, _tokens, kind="encoder", load=_load),
    Family("transformers", ("PixioBackbone",), _backbone, _maps, kind="encoder", load=_load),
)
