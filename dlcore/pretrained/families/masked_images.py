"""Masked image modeling of transformers: a ViT, DeiT, Swin or FocalNet that reconstructs images with hidden patches."""

from collections.abc import Mapping
from typing import Any

from dlcore.models.registry import create_model
from dlcore.pretrained.family import Family, read_as

__all__ = ["FAMILIES"]


def _read(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    architecture = config["architectures"][0].replace("ForMaskedImageModeling", "Model")
    name, fields = read_as(architecture)(config)
    return "simmim_swin_b_192", {"backbone": create_model(name, **fields), "cell": config.get("encoder_stride", 32)}


def _images(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    masked = inputs.get("bool_masked_pos")
    masked = None if masked is None else masked.astype(bool)
    return {"reconstruction": model.apply(variables, inputs["pixel_values"], masked)}


FAMILIES = (
    Family(
        "transformers",
        tuple(f"{kind}ForMaskedImageModeling" for kind in ("ViT", "DeiT", "Swin", "Swinv2", "FocalNet")),
        _read,
        _images,
        ("pixel_values", "bool_masked_pos"),
        "encoder",
    ),
)
