"""Perceiver of transformers: three classifiers of images, which differ in what the latents read."""

from collections.abc import Mapping
from typing import Any

from dlcore.choices import check_choice
from dlcore.nn import ACTIVATIONS
from dlcore.pretrained.family import Family, check_config, square_side

__all__ = ["FAMILIES"]

NAMES = {"Learned": "perceiver_learned", "Fourier": "perceiver_fourier", "ConvProcessing": "perceiver_conv"}
FIXED = {"qk_channels": None, "v_channels": None}
"""Values that dlcore's network has. Norms take torch's epsilon, whatever `layer_norm_eps` says."""


def _perceiver(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, FIXED, "dlcore's Perceiver")
    shape, activation = config.get("cross_attention_shape_for_attention", "kv"), config.get("hidden_act", "gelu")
    check_choice("cross_attention_shape_for_attention", shape, ("kv", "q"))
    check_choice("hidden_act", activation, tuple(ACTIVATIONS))
    name = NAMES[config["architectures"][0].removeprefix("PerceiverForImageClassification")]
    return name, {
        "num_classes": len(config["id2label"]),
        "image_size": square_side(config.get("image_size", 56)),
        "num_latents": config.get("num_latents", 256),
        "width": config.get("d_latents", 1280),
        "depth": config.get("num_self_attends_per_block", 26),
        "repeats": config.get("num_blocks", 1),
        "num_heads": config.get("num_self_attention_heads", 8),
        "cross_heads": config.get("num_cross_attention_heads", 8),
        "widening": config.get("self_attention_widening_factor", 1),
        "cross_widening": config.get("cross_attention_widening_factor", 1),
        "activation": activation,
        "wide_keys": shape == "kv",
        "query_residual": config.get("use_query_residual", True),
    }


def _logits(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    return {"logits": model.apply(variables, inputs["pixel_values"])}


CLASSES = tuple(f"PerceiverForImageClassification{name}" for name in NAMES)
FAMILIES = (Family("transformers", CLASSES, _perceiver, _logits, ("pixel_values|inputs",), kind="encoder"),)
