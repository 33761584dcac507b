"""DINOv2 of transformers, with and without registers and heads."""

from collections.abc import Mapping
from typing import Any

from dlcore.pretrained.family import Family, check_config, classifier

__all__ = ["FAMILIES", "dinov2_fields", "encoder"]


def dinov2_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """Read the fields of a DINOv2 without a head.

    Args:
      config: content of config.json.

    Returns:
      Fields of `dlcore.models.dinov2.DINOv2`.
    """
    check_config(config, {"hidden_act": "gelu"}, "dlcore's DINOv2")
    hidden = int(config["hidden_size"] * config["mlp_ratio"])
    swiglu = config.get("use_swiglu_ffn", False)
    return {
        "num_classes": 0,
        "image_size": config["image_size"],
        "patch_size": config["patch_size"],
        "depth": config["num_hidden_layers"],
        "width": config["hidden_size"],
        "num_heads": config["num_attention_heads"],
        # Transformers' gated MLP has two thirds of the units, rounded up to a multiple of 8.
        "mlp_features": (int(hidden * 2 / 3) + 7) // 8 * 8 if swiglu else hidden,
        "swiglu": swiglu,
        "num_registers": config.get("num_register_tokens", 0),
        "antialias_positions": "num_register_tokens" in config,
        "epsilon": config["layer_norm_eps"],
    }


def _model(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return "dinov2_base", dinov2_fields(config)


def _classifier(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return "dinov2_base", dinov2_fields(config) | {"num_classes": len(config["id2label"]), "pool": "token_mean"}


def encoder(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """Run an encoder.

    Args:
      model: the flax module, with a method `tokens`.
      variables: its variables.
      inputs: the image batch under any name.

    Returns:
      {"last_hidden_state": [B, T, width], "pooler_output": [B, width]}, the latter what a head would see; with a new
      head "logits", [B, num_classes], in its place.
    """
    (images,) = inputs.values()
    return {"last_hidden_state": model.apply(variables, images, method="tokens")} | classifier(model, variables, inputs)


FAMILIES = (
    Family("transformers", ("Dinov2Model", "Dinov2WithRegistersModel"), _model, encoder, kind="encoder"),
    Family(
        "transformers",
        ("Dinov2ForImageClassification", "Dinov2WithRegistersForImageClassification"),
        _classifier,
        classifier,
    ),
)
