"""Vision transformers of timm with biases of offsets."""

from collections.abc import Mapping
from typing import Any

from dlcore.models import relpos_vit
from dlcore.pretrained.family import Family, classifier, num_classes_of, timm_arguments

__all__ = ["FAMILIES"]

FIELDS = {"embed_dim": "width", "depth": "depth", "num_heads": "num_heads", "patch_size": "patch_size"}


def _relpos(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    pool = "token" if "_cls_" in config["architecture"] else "avg"
    arguments = timm_arguments(config, (*FIELDS, "img_size", "rel_pos_dim"), {"in_chans": 3, "global_pool": pool})
    fields = {field: arguments[name] for name, field in FIELDS.items() if name in arguments}
    if "width" in fields:
        fields["mlp_features"] = 4 * fields["width"]
    if "rel_pos_dim" in arguments:
        fields["bias_features"] = arguments["rel_pos_dim"]
    if "img_size" in arguments:
        side = arguments["img_size"]
        fields["image_size"] = side if isinstance(side, int) else side[-1]
    return config["architecture"], fields | {"num_classes": num_classes_of(config)}


FAMILIES = (Family("timm", tuple(relpos_vit.MODELS), _relpos, classifier, ("x",)),)
