"""CvT of transformers."""

from collections.abc import Mapping
from typing import Any

from dlcore.pretrained.family import Family, check_config, classifier

__all__ = ["FAMILIES"]

STAGES = {
    "drop_rate": 0.0,
    "attention_drop_rate": 0.0,
    "qkv_projection_method": "dw_bn",
    "kernel_qkv": 3,
    "padding_kv": 1,
    "padding_q": 1,
    "stride_q": 1,
}
"""{key: the only value that dlcore's network has, in each stage}. transformers does not read `layer_norm_eps`."""
FIELDS = {
    "widths": ("embed_dim", (64, 192, 384)),
    "num_heads": ("num_heads", (1, 3, 6)),
    "mlp_ratios": ("mlp_ratio", (4.0, 4.0, 4.0)),
    "patch_sizes": ("patch_sizes", (7, 3, 3)),
    "strides": ("patch_stride", (4, 2, 2)),
    "paddings": ("patch_padding", (2, 1, 1)),
    "key_strides": ("stride_kv", (2, 2, 2)),
    "qkv_biases": ("qkv_bias", (True, True, True)),
}
"""{field: (key, its default)}."""


def _cvt(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    depth = tuple(config.get("depth", (1, 2, 10)))
    class_token = config.get("cls_token", (False, False, True))[-1]
    fixed = {key: [value] * len(depth) for key, value in STAGES.items()}
    fixed["cls_token"] = [*[False] * (len(depth) - 1), class_token]
    check_config(config, {"num_channels": 3} | fixed, "dlcore's CvT")
    return "cvt_13", {
        "num_classes": len(config["id2label"]),
        "stages": depth,
        "class_token": class_token,
        "drop_path": config.get("drop_path_rate", (0.0, 0.0, 0.1))[-1],
        **{field: tuple(config.get(key, default)) for field, (key, default) in FIELDS.items()},
    }


FAMILIES = (Family("transformers", ("CvtForImageClassification",), _cvt, classifier),)
