"""PVT v2 of timm."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from dlcore.models import pvt_v2
from dlcore.models.torch_weights import load_torch
from dlcore.pretrained.family import Family, classifier, num_classes_of, timm_arguments

__all__ = ["FAMILIES"]

NAMES = (
    (r"^patch_embed\.", "stages.0.downsample."),
    (r"^stages\.(\d)\.", r"encoder.layers.\1."),
    (r"\.downsample\.norm\.", ".patch_embedding.layer_norm."),
    (r"\.downsample\.", ".patch_embedding."),
    (r"(layers\.\d)\.norm\.", r"\1.layer_norm."),
    (r"\.norm([12])\.", r".layer_norm_\1."),
    (r"\.attn\.norm\.", ".attention.layer_norm."),
    (r"\.attn\.sr\.", ".attention.spatial_reduction."),
    (r"\.attn\.q\.", ".attention.query."),
    (r"\.attn\.", ".attention."),
    (r"\.mlp\.fc(\d)\.", r".mlp.dense\1."),
    (r"\.mlp\.dwconv\.", ".mlp.dwconv.dwconv."),
    (r"^head\.", "classifier."),
)
"""timm's names, and transformers'."""

TIMM = {
    "depths": "stages",
    "embed_dims": "widths",
    "num_heads": "num_heads",
    "sr_ratios": "reductions",
    "mlp_ratios": "mlp_ratios",
}
"""Arguments of timm's network, and the fields that they are."""


def _pvt_v2(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    arguments = timm_arguments(config, (*TIMM, "linear"), {"in_chans": 3, "global_pool": "avg", "qkv_bias": True})
    fields = {field: tuple(arguments[key]) for key, field in TIMM.items() if key in arguments}
    fields |= {"linear": arguments["linear"]} if "linear" in arguments else {}
    return config["architecture"], fields | {"num_classes": num_classes_of(config), "patch_epsilon": 1e-5}


def _load(model: pvt_v2.PVTv2, config: Mapping[str, Any], arrays: Mapping[str, Any]) -> Any:
    """Read timm's weights, in which keys and values are one layer."""
    renamed = {}
    for key, value in arrays.items():
        for pattern, replacement in NAMES:
            key = re.sub(pattern, replacement, key)
        if ".attention.kv." in key:
            halves = np.split(np.asarray(value), 2)
            renamed |= {
                key.replace(".kv.", f".{name}."): half for name, half in zip(("key", "value"), halves, strict=True)
            }
        else:
            renamed[key] = value
    name, fields = _pvt_v2(config)
    new_head = model.num_classes != fields["num_classes"]
    fields["num_classes"] = model.num_classes
    return load_torch(name, renamed, replace_head=new_head, **fields)


FAMILIES = (Family("timm", tuple(pvt_v2.MODELS), _pvt_v2, classifier, ("x",), load=_load),)
