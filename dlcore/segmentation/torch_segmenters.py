"""Torchvision's segmenters by name, and their published weights."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.models import create_model
from dlcore.models.torch_weights import fill_from_torch
from dlcore.segmentation.deeplab import DeepLabV3
from dlcore.segmentation.fcn import FCN
from dlcore.segmentation.lraspp import LRASPP

__all__ = ["SEGMENTERS", "create_segmenter", "load_torch_segmenter"]

SEGMENTERS = (
    "fcn_resnet50",
    "fcn_resnet101",
    "deeplabv3_resnet50",
    "deeplabv3_resnet101",
    "lraspp_mobilenet_v3_large",
)


def create_segmenter(name: str, num_classes: int = 21, aux: bool = False) -> nn.Module:
    """Build a segmenter of torchvision.

    Args:
      name: of SEGMENTERS.
      num_classes: C; 21 in the published weights, the background and PASCAL VOC's classes.
      aux: with the auxiliary head; LR-ASPP has none.

    Returns:
      The flax module.

    Raises:
      ValueError: the name is unknown.
    """
    if name not in SEGMENTERS:
        raise ValueError(f"name={name!r}: unknown; allowed: {', '.join(SEGMENTERS)}")
    kind, _, backbone = name.partition("_")
    if kind == "lraspp":
        return LRASPP(create_model(backbone, first_blocks=True, dilate=True), num_classes)
    kinds = {"fcn": FCN, "deeplabv3": DeepLabV3}
    dilated = create_model(backbone, dilate=(False, True, True))
    return kinds[kind](dilated, num_classes, aux_stage="layer3" if aux else None)


def load_torch_segmenter(name: str, state_dict: Mapping[str, Any], num_classes: int = 21) -> tuple[nn.Module, Any]:
    """Build a segmenter of torchvision with its weights.

    Args:
      name: of SEGMENTERS.
      state_dict: {name: array}, such as `dlcore.models.torch_weights.read_state_dict` reads; with or without those of
        the auxiliary head.
      num_classes: C.

    Returns:
      (the flax module, its variables).

    Raises:
      ValueError: entries are missing, left over or of a wrong shape, or the name is unknown.
    """
    model = create_segmenter(name, num_classes, any("aux_classifier." in key for key in state_dict))
    shapes = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32))
    return model, fill_from_torch(shapes, state_dict, ((r"^backbone\.features\.", "backbone."),), what=name)
