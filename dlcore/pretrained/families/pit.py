"""PiTs of timm."""

from collections.abc import Mapping
from typing import Any

from dlcore.models import pit
from dlcore.pretrained.family import Family, classifier, num_classes_of, timm_arguments

__all__ = ["FAMILIES"]

FIELDS = {"depth": "stages", "heads": "num_heads", "base_dims": "head_width", "img_size": "image_size"}


def _pit(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    arguments = timm_arguments(config, tuple(FIELDS), {"in_chans": 3, "global_pool": "token"})
    fields = {field: arguments[name] for name, field in FIELDS.items() if name in arguments}
    fields |= {name: tuple(fields[name]) for name in ("stages", "num_heads") if name in fields}
    if len({*arguments.get("base_dims", [0])}) > 1:
        raise ValueError(f"base_dims={arguments['base_dims']}: not in dlcore's PiT; allowed: one width for all stages")
    for name in ("head_width", "image_size"):
        if isinstance(value := fields.get(name), (list, tuple)):
            fields[name] = value[0]
    return config["architecture"], fields | {"num_classes": num_classes_of(config)}


FAMILIES = (Family("timm", tuple(pit.MODELS), _pit, classifier, ("x",)),)
