"""Torchvision's segmenters by name, and their published weights."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.choices import check_choice, check_whole_number
from dlcore.models import create_model
from dlcore.models.torch_weights import count_from_torch, fill_from_torch
from dlcore.segmentation.deeplab import DeepLabV3
from dlcore.segmentation.fcn import FCN
from dlcore.segmentation.lraspp import LRASPP

__all__ = ["MODELS", "SEGMENTERS", "count_classes", "create_segmenter", "example_inputs", "from_torch_names"]

NAMES = ((r"^backbone\.features\.", "backbone."),)

SEGMENTERS = (
    "fcn_resnet50",
    "fcn_resnet101",
    "deeplabv3_resnet50",
    "deeplabv3_resnet101",
    "deeplabv3_mobilenet_v3_large",
    "lraspp_mobilenet_v3_large",
)


def create_segmenter(name: str, num_classes: int = 21, aux: bool = False) -> nn.Module:
    """Build a segmenter of torchvision.

    Args:
      name: name from SEGMENTERS.
      num_classes: C; 21 in the published weights, the background and PASCAL VOC's classes.
      aux: build the auxiliary head; LR-ASPP has none.
    """
    check_whole_number("num_classes", num_classes, 1)
    check_choice("name", name, SEGMENTERS)
    kind, _, backbone = name.partition("_")
    if kind == "lraspp":
        return LRASPP(create_model(backbone, first_blocks=True, dilate=True), num_classes)
    kinds = {"fcn": FCN, "deeplabv3": DeepLabV3}
    if backbone == "mobilenet_v3_large":
        dilated = create_model(backbone, first_blocks=True, dilate=True)
        return DeepLabV3(dilated, num_classes, "last", aux_stage="stage3_first" if aux else None)
    dilated = create_model(backbone, dilate=(False, True, True))
    return kinds[kind](dilated, num_classes, aux_stage="layer3" if aux else None)


def _variant(name: str) -> functools.partial:
    """The class with the fields of `create_segmenter`; the published files of FCN and DeepLab have auxiliary heads."""
    built = create_segmenter(name, aux=not name.startswith("lraspp"))
    fields = {field.name: getattr(built, field.name) for field in dataclasses.fields(built)}
    return functools.partial(type(built), **{key: fields[key] for key in fields if key not in ("parent", "name")})


MODELS = {name: _variant(name) for name in SEGMENTERS}


def example_inputs(model: nn.Module) -> tuple[jax.Array]:
    """Build inputs that initialize a segmenter.

    Args:
      model: name from `MODELS`.

    Returns:
      (an image [1, H, W, 3],).
    """
    return (jnp.zeros((1, 64, 64, 3)),)


def count_classes(model: nn.Module, state_dict: Mapping[str, Any]) -> int | None:
    """Count the classes of published or fine-tuned weights.

    Args:
      model: model from `create_segmenter`.
      state_dict: {name: array}.

    Returns:
      C; None where the weights lack the heads.

    Raises:
      ValueError: the heads have different numbers of classes.
    """
    size = model.num_classes
    shapes = [
        jax.eval_shape(model.clone(num_classes=n).init, jax.random.key(0), *example_inputs(model))
        for n in (size, size + 1)
    ]
    return count_from_torch("classes", size, (shapes[0], shapes[1]), state_dict, NAMES)


def from_torch_names(model: nn.Module, state_dict: Mapping[str, Any]) -> Any:
    """Convert a state dict of torchvision to the variables of a segmenter.

    Args:
      model: model from `create_segmenter`.
      state_dict: {name: array}, with the auxiliary head where the model has one.

    Returns:
      {"params": ..., "batch_stats": ...}.
    """
    if getattr(model, "aux_stage", None) is not None and not any("aux_classifier." in name for name in state_dict):
        raise ValueError(
            "state_dict: has no auxiliary head, aux_classifier.*; allowed: with one, or the field aux_stage=None"
        )
    return _fill(model, state_dict, type(model).__name__)


def _fill(model: nn.Module, state_dict: Mapping[str, Any], what: str) -> Any:
    shapes = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32))
    return fill_from_torch(shapes, state_dict, NAMES, what=what)
