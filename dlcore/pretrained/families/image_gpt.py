"""Image GPTs of transformers."""

from collections.abc import Mapping
from typing import Any

from dlcore.nn import ACTIVATIONS
from dlcore.pretrained.family import Family, check_config

__all__ = ["FAMILIES"]

FIXED = {"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False}
"""Values that dlcore's network has. `reorder_and_upcast_attn` changes no value in float32."""


def _image_gpt(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, FIXED, "dlcore's Image GPT")
    activation = config.get("activation_function", "quick_gelu")
    if activation not in ACTIVATIONS:
        allowed = ", ".join(ACTIVATIONS)
        raise ValueError(f"activation_function={activation!r}: not in dlcore's Image GPT; allowed: {allowed}")
    return "imagegpt_small", {
        "num_classes": len(config["id2label"]) if config["architectures"][0].endswith("Classification") else 0,
        "vocab_size": config["vocab_size"],
        "window": config["n_positions"],
        "num_layers": config["n_layer"],
        "num_heads": config["n_head"],
        "width": config["n_embd"],
        "mlp_features": config.get("n_inner") or 4 * config["n_embd"],
        "activation": activation,
        "epsilon": config.get("layer_norm_epsilon", 1e-5),
    }


def _outputs(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    name = "logits" if model.num_classes else "last_hidden_state"
    return {name: model.apply(variables, inputs["input_ids"])}


CLASSES = ("ImageGPTModel", "ImageGPTForImageClassification")
FAMILIES = (Family("transformers", CLASSES, _image_gpt, _outputs, ("input_ids",), "encoder"),)
