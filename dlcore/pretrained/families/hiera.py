"""Hieras of timm."""

import re
from collections.abc import Mapping
from typing import Any

from dlcore.models import hiera, load_torch
from dlcore.pretrained.family import Family, classifier, num_classes_of, timm_arguments

__all__ = ["FAMILIES"]

FIELDS = {"embed_dim": "width", "stages": "stages", "img_size": "image_size"}


def _hiera(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    arguments = timm_arguments(config, tuple(FIELDS), {"in_chans": 3, "global_pool": "avg"})
    fields = {field: arguments[name] for name, field in FIELDS.items() if name in arguments}
    if "stages" in fields:
        fields["stages"] = tuple(fields["stages"])
    if isinstance(side := fields.get("image_size"), (list, tuple)):
        fields["image_size"] = side[-1]
    return config["architecture"], fields | {"num_classes": num_classes_of(config)}


def _load(model: Any, config: Mapping[str, Any], weights: Mapping[str, Any]) -> Any:
    """Read a file whose blocks are numbered through all stages."""
    positions = [(i, j) for i, blocks in enumerate(model.stages) for j in range(blocks)]

    def renamed(match: re.Match) -> str:
        stage, block = positions[int(match[1])]
        return f"stages.{stage}.{block}."

    name, fields = _hiera(config)
    new_head = model.num_classes != fields["num_classes"]
    fields |= {"num_classes": model.num_classes, "image_size": model.image_size}
    entries = {re.sub(r"^blocks\.(\d+)\.", renamed, key): value for key, value in weights.items()}
    return load_torch(name, entries, replace_head=new_head, **fields)


FAMILIES = (Family("timm", tuple(hiera.MODELS), _hiera, classifier, ("x",), load=_load),)
