"""MLP-Mixers, ResMLPs and gMLPs of timm."""

from collections.abc import Mapping
from typing import Any

from dlcore.models import mixer, res_mlp
from dlcore.pretrained.family import Family, by_name, classifier

__all__ = ["FAMILIES"]


def _mixer(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    is_number = isinstance((config.get("model_args") or {}).get("img_size"), int)
    fixed = {"in_chans": 3, "global_pool": "avg", "img_size": 224 if is_number else [224, 224]}
    return by_name(config, fixed)


FAMILIES = (Family("timm", (*mixer.MODELS, *res_mlp.MODELS), _mixer, classifier, ("x",)),)
