"""MLCD of transformers."""

from collections.abc import Mapping
from typing import Any

from dlcore.pretrained.family import Family, check_config, square_side

__all__ = ["FAMILIES"]

FIXED = {"num_channels": 3, "num_key_value_groups": 1}


def _mlcd(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, FIXED, "dlcore's MLCD")
    rope = config.get("rope_parameters") or {}
    check_config(rope, {"rope_type": "axial"}, "dlcore's MLCD")
    return "mlcd_vit_bigg_patch14_336", {
        "image_size": square_side(config.get("image_size", 336)),
        "patch_size": square_side(config.get("patch_size", 14)),
        "depth": config["num_hidden_layers"],
        "width": config["hidden_size"],
        "num_heads": config["num_attention_heads"],
        "mlp_features": config["intermediate_size"],
        "activation": config.get("hidden_act", "gelu"),
        "rotary_period": rope.get("rope_theta", 10_000.0),
        "epsilon": config.get("layer_norm_eps", 1e-5),
    }


def _tokens(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    tokens, pooled = model.apply(variables, inputs["pixel_values"], method="all_tokens")
    return {"last_hidden_state": tokens, "pooler_output": pooled}


FAMILIES = (Family("transformers", ("MLCDVisionModel",), _mlcd, _tokens),)
