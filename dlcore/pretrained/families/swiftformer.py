"""SwiftFormer of transformers."""

from collections.abc import Mapping
from typing import Any

from dlcore.pretrained.family import Family, check_config, classifier, without_head

__all__ = ["FAMILIES"]

FIXED = {"num_channels": 3, "hidden_act": "gelu", "down_patch_size": 3, "down_stride": 2, "down_pad": 1}
WHERE = "dlcore's SwiftFormer"


def _swiftformer(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, FIXED, WHERE)
    widths, halved = config.get("embed_dims", (48, 56, 112, 220)), config.get("downsamples", (True,) * 4)
    if any(a == b and not half for a, b, half in zip(widths[:-1], widths[1:], halved[: len(widths) - 1], strict=True)):
        raise ValueError(f"downsamples={halved}: {WHERE} halves the map of each stage; allowed: true")
    return "swiftformer_xs", {
        "num_classes": len(config["id2label"]),
        "stages": tuple(config.get("depths", (3, 3, 6, 4))),
        "widths": tuple(widths),
        "mlp_ratio": config.get("mlp_ratio", 4),
        "layer_scale": config.get("layer_scale_init_value", 1e-5) if config.get("use_layer_scale", True) else None,
        "dropout": config.get("drop_mlp_rate", 0.0),
        "conv_dropout": config.get("drop_conv_encoder_rate", 0.0),
        "drop_path": config.get("drop_path_rate", 0.0),
        "epsilon": config.get("batch_norm_eps", 1e-5),
    }


def _encoder(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    (images,) = inputs.values()
    maps = model.apply(variables, images, method="features")
    return {"last_hidden_state": list(maps.values())[-1]}


FAMILIES = (
    Family("transformers", ("SwiftFormerForImageClassification",), _swiftformer, classifier),
    Family("transformers", ("SwiftFormerModel",), without_head(_swiftformer), _encoder),
)
