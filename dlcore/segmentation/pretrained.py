"""Segmenters of transformers: SegFormer."""

from collections.abc import Mapping
from typing import Any

from dlcore.models.mit import MiT
from dlcore.models.pretrained.families.stages import mit_fields
from dlcore.models.pretrained.family import Family

__all__ = ["FAMILIES"]


def _segformer(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return "segformer_b0", {
        "backbone": MiT(num_classes=0, **mit_fields(config)),
        "num_classes": len(config["id2label"]),
        "features": config.get("decoder_hidden_size", 256),
        "dropout": config.get("classifier_dropout_prob", 0.1),
    }


def _scores(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    return {"logits": model.apply(variables, inputs["pixel_values"], method="scores")}


FAMILIES = (Family("transformers", ("SegformerForSemanticSegmentation",), _segformer, _scores, kind="segmentation"),)
