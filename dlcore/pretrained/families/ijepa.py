"""Encoders of transformers without a class token: I-JEPA and AIMv2."""

from collections.abc import Mapping
from typing import Any

from dlcore.pretrained.families.vit import transformer_fields
from dlcore.pretrained.family import Family, check_config, classifier

__all__ = ["FAMILIES"]

AIMV2 = {"hidden_act": "silu", "qkv_bias": False, "mlp_bias": False, "is_native": False}


def _ijepa(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    config = {"layer_norm_eps": 1e-12, **config}
    return "ijepa_vith14_1k", transformer_fields(config) | {"num_classes": 0}


def _ijepa_classifier(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return "ijepa_vith14_1k", transformer_fields({"layer_norm_eps": 1e-12, **config})


def _aimv2(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, AIMV2, "dlcore's AIMv2")
    fields = transformer_fields({**config, "layer_norm_eps": config.get("rms_norm_eps", 1e-5)}, "silu")
    pool = "attention" if config.get("use_head", True) else "mean"
    return "aimv2_large_patch14_224", fields | {"num_classes": 0, "pool": pool}


def _outputs(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """Run the encoder; the tokens behind its last norm are caught on their way to the pool."""
    (images,) = inputs.values()

    def is_last_norm(module: Any, method: str) -> bool:
        return module.path == ("norm",) and method == "__call__"

    pooled, state = model.apply(variables, images, capture_intermediates=is_last_norm)
    return {"last_hidden_state": state["intermediates"]["norm"]["__call__"][0], "pooler_output": pooled}


def _tokens(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    return {"last_hidden_state": _outputs(model, variables, inputs)["last_hidden_state"]}


FAMILIES = (
    Family("transformers", ("IJepaModel",), _ijepa, _tokens),
    Family("transformers", ("IJepaForImageClassification",), _ijepa_classifier, classifier),
    Family("transformers", ("Aimv2VisionModel",), _aimv2, _outputs),
)
