"""PoolFormer of transformers."""

from collections.abc import Mapping
from typing import Any

from dlcore.pretrained.family import Family, check_config, classifier

__all__ = ["FAMILIES"]

POOLFORMER = {
    "num_channels": 3,
    "num_encoder_blocks": 4,
    "patch_sizes": [7, 3, 3, 3],
    "strides": [4, 2, 2, 2],
    "padding": [2, 1, 1, 1],
    "hidden_act": "gelu",
}
"""Values of the configuration that dlcore's network has. `patch_size` and `stride` are not read by transformers."""


def _poolformer(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, POOLFORMER, "dlcore's PoolFormer")
    return "poolformer_s12", {
        "num_classes": len(config["id2label"]) if config["architectures"][0].endswith("Classification") else 0,
        "stages": tuple(config["depths"]),
        "widths": tuple(config["hidden_sizes"]),
        "norm_map": True,
        "mlp_ratio": config.get("mlp_ratio", 4.0),
        "pool_size": config.get("pool_size", 3),
        "layer_scale": config.get("layer_scale_init_value", 1e-5) if config.get("use_layer_scale", True) else None,
        "drop_path": config.get("drop_path_rate", 0.0),
    }


def _last_map(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    (images,) = inputs.values()
    return {"last_hidden_state": model.apply(variables, images, method="features")["stage4"]}


FAMILIES = (
    Family("transformers", ("PoolFormerForImageClassification",), _poolformer, classifier),
    Family("transformers", ("PoolFormerModel",), _poolformer, _last_map),
)
