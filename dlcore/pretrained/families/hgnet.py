"""HGNet of timm, and HGNetV2 of transformers."""

import functools
from collections.abc import Mapping
from typing import Any

from dlcore.models.hgnet import MODELS
from dlcore.pretrained.family import Family, by_name, check_config, classifier

__all__ = ["FAMILIES"]

WHERE = "dlcore's HGNetV2"
FIXED = {
    "num_channels": 3,
    "hidden_act": "relu",
    "stem_strides": [2, 1, 1, 2, 1],
    "stage_downsample": [False, True, True, True],
    "stage_downsample_strides": [2, 2, 2, 2],
}
TUPLES = {
    "stem_widths": ("stem_channels", (3, 32, 48)),
    "widths": ("stage_out_channels", (128, 512, 1024, 2048)),
    "mid_widths": ("stage_mid_channels", (48, 96, 192, 384)),
    "stages": ("stage_num_blocks", (1, 1, 3, 1)),
    "num_layers": ("stage_numb_of_layers", (6, 6, 6, 6)),
    "kernel_sizes": ("stage_kernel_size", (3, 3, 5, 5)),
    "light": ("stage_light_block", (False, False, True, True)),
}
"""{field: (key of the configuration, its default)}."""


def _classifier(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    fields = {field: tuple(config.get(key, default)) for field, (key, default) in TUPLES.items()}
    image, *fields["stem_widths"] = fields["stem_widths"]
    inputs, last = [fields["stem_widths"][-1], *fields["widths"][:-1]], list(config.get("hidden_sizes", (2048,)))[-1]
    derived = {"stage_in_channels": list(config.get("stage_in_channels", (48, 128, 512, 1024)))}
    derived |= {"stem_channels": image, "hidden_sizes": last}
    shape = {"stage_in_channels": inputs, "stem_channels": 3, "hidden_sizes": fields["widths"][-1]}
    check_config(config, FIXED, WHERE)
    check_config(derived, shape, f"{WHERE}, by stem_channels and stage_out_channels")
    fields |= {"stem_widths": tuple(fields["stem_widths"]), "affine": config.get("use_learnable_affine_block", False)}
    return "hgnetv2_b4", fields | {"num_classes": len(config["id2label"]), "hidden": 0}


FAMILIES = (
    Family(
        "timm",
        tuple(MODELS),
        functools.partial(by_name, fixed={"in_chans": 3, "global_pool": "avg"}),
        classifier,
        ("x",),
    ),
    Family("transformers", ("HGNetV2ForImageClassification",), _classifier, classifier),
)
