"""Base models of transformers' DETR, YOLOS and DPT: the published network up to its heads."""

from collections.abc import Callable, Mapping
from typing import Any

import jax

from dlcore.detection.torch_detectors import example_inputs
from dlcore.models.resnet import transformers_names
from dlcore.models.torch_weights import fill_from_torch
from dlcore.pretrained.families.detectors import padded_sizes
from dlcore.pretrained.families.vit import FAMILIES as VITS
from dlcore.pretrained.families.vit import pooled, pooler_loader
from dlcore.pretrained.family import Family, check_config, read_as

__all__ = ["FAMILIES"]


def _load(method: str) -> Callable[[Any, Mapping[str, Any], Mapping[str, Any]], Any]:
    """Build the loader of what a method of a network reads, whose names a detector's file has behind "model."."""

    def load(model: Any, config: Mapping[str, Any], weights: Mapping[str, Any]) -> Any:
        shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *example_inputs(model), method=method))
        names, what = (*model.TORCH_NAMES, (r"(^| )model\.", r"\1")), type(model).__name__
        older = (*OLDER, *model.TORCH_OLD_NAMES)
        return fill_from_torch(shapes, weights, names, what=what, older=older, optional=r"^pooler\.")

    return pooler_loader(load)


def _queries(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    hidden_states = model.apply(variables, inputs["pixel_values"], padded_sizes(inputs), method="hidden_states")
    states, tokens = hidden_states[:2]
    return {"last_hidden_state": states[:, -1], "encoder_last_hidden_state": tokens}


def _tokens(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    return pooled(variables, model.apply(variables, inputs["pixel_values"], method="tokens"))


def _dpt(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, {"is_hybrid": False, "backbone_config": None, "qkv_bias": True}, "dlcore's ViT")
    return VIT.model(config)


VIT = next(family for family in VITS if "ViTModel" in family.architectures)


OLDER = ((r"^backbone\.conv_encoder\.model\.", "backbone.model."), *transformers_names("backbone.model."))
"""Names of backbones in files of Table Transformer, and in older ones."""


INPUTS = ("pixel_values", "pixel_mask")


def _detector(architecture: str, outputs: Any, method: str, inputs: tuple[str, ...] = INPUTS[:1]) -> Family:
    """Build the family of the base model of a detector."""
    detector = read_as(architecture.replace("Model", "ForObjectDetection"))

    def read(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        return detector({**config, "id2label": {"0": ""}})  # its classes do not matter

    return Family("transformers", (architecture,), read, outputs, inputs, "encoder", _load(method))


FAMILIES = (
    _detector("DetrModel", _queries, "hidden_states", INPUTS),
    _detector("ConditionalDetrModel", _queries, "hidden_states", INPUTS),
    _detector("DabDetrModel", _queries, "hidden_states", INPUTS),
    _detector("TableTransformerModel", _queries, "hidden_states", INPUTS),
    _detector("DeformableDetrModel", _queries, "hidden_states", INPUTS),
    _detector("YolosModel", _tokens, "tokens"),
    VIT._replace(architectures=("DPTModel",), model=_dpt),
)
