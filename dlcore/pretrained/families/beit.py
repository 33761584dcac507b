"""BEiT of transformers and timm, and data2vec of transformers, which is the same network."""

from collections.abc import Mapping
from typing import Any

from dlcore.pretrained.families.vit import timm_fields, transformer_fields
from dlcore.pretrained.family import Family, check_config, classifier

__all__ = ["FAMILIES"]


def _beit(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, {"use_relative_position_bias": True, "use_mean_pooling": True}, "dlcore's BEiT")
    return "beit_base_patch16_224", transformer_fields(config)


def _timm(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return "beit_base_patch16_224", timm_fields(config, "avg")


FAMILIES = (
    Family("transformers", ("BeitForImageClassification", "Data2VecVisionForImageClassification"), _beit, classifier),
    Family("timm", ("beit_*_patch16_*", "beitv2_*_patch16_*"), _timm, classifier, ("x",)),
)
