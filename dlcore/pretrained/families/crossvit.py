"""CrossViTs of timm."""

from collections.abc import Mapping
from typing import Any

from dlcore.models import crossvit
from dlcore.pretrained.family import Family, classifier, num_classes_of, timm_arguments

__all__ = ["FAMILIES"]

FIELDS = {"embed_dim": "widths", "num_heads": "num_heads"}


def _crossvit(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    name = config["architecture"]
    fixed = {"in_chans": 3, "global_pool": "token"}
    arguments = timm_arguments(config, (*FIELDS, "depth", "img_size"), fixed)
    fields = {field: tuple(arguments[key]) for key, field in FIELDS.items() if key in arguments}
    if "depth" in arguments:
        if any(first != 1 or last for first, _, last in arguments["depth"]):
            raise ValueError(f"depth={arguments['depth']}: not in dlcore's CrossViT; allowed: [1, blocks, 0] a stage")
        fields["stages"] = tuple(blocks for _, blocks, _ in arguments["depth"])
    if "img_size" in arguments:
        side = arguments["img_size"]
        side = side if isinstance(side, int) else side[0]
        ratio = 384 / 408 if name.endswith("408") else 224 / 240
        fields |= {"image_size": side, "small_size": int(side * ratio)}
    return name, fields | {"num_classes": num_classes_of(config)}


FAMILIES = (Family("timm", tuple(crossvit.MODELS), _crossvit, classifier, ("x",)),)
