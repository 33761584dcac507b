"""Published segmenters of queries by name; `create_model` and `load_torch` of `dlcore.models` know them."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.models.swin import Swin
from dlcore.models.torch_weights import count_from_torch, fill_from_torch
from dlcore.segmentation.eomt import EoMT
from dlcore.segmentation.mask2former import Mask2Former
from dlcore.segmentation.maskformer import MaskFormer

__all__ = ["MODELS", "count_classes", "example_inputs", "from_torch_names"]

MODELS = {
    "maskformer_swin_t": functools.partial(MaskFormer, backbone=Swin(num_classes=0), num_classes=150),
    "mask2former_swin_t": functools.partial(Mask2Former, backbone=Swin(num_classes=0), num_classes=133),
    "eomt_large_640": functools.partial(EoMT, num_classes=133),
}


def example_inputs(model: nn.Module) -> tuple[jax.Array]:
    """Build inputs that initialize a segmenter.

    Args:
      model: name from `MODELS`.

    Returns:
      (an image [1, H, W, 3],).
    """
    side = getattr(model, "image_size", 64)
    return (jnp.zeros((1, side, side, 3)),)


def count_classes(model: nn.Module, state_dict: Mapping[str, Any]) -> int | None:
    """Count the classes of published or fine-tuned weights.

    Args:
      model: model from `MODELS`.
      state_dict: {name: array}.

    Returns:
      C; None where the weights lack the heads.

    Raises:
      ValueError: the heads have different numbers of classes.
    """
    size = model.num_classes
    shapes = [_shapes(model.clone(num_classes=count)) for count in (size, size + 1)]
    rules, older = model.TORCH_NAMES, model.TORCH_OLD_NAMES
    return count_from_torch("classes", size, (shapes[0], shapes[1]), state_dict, rules, older)


def from_torch_names(model: nn.Module, state_dict: Mapping[str, Any]) -> Any:
    """Convert a state dict of transformers to the variables of a segmenter.

    Args:
      model: model from `MODELS`.
      state_dict: PyTorch state dict.

    Returns:
      {"params": ..., "batch_stats": ...}.

    Raises:
      ValueError: entries are missing, left over or of a wrong shape; they are listed by name.
    """
    return fill_from_torch(
        _shapes(model),
        state_dict,
        model.TORCH_NAMES,
        what=type(model).__name__,
        older=model.TORCH_OLD_NAMES,
        optional=model.TORCH_OPTIONAL,
    )


def _shapes(model: nn.Module) -> Any:
    return jax.eval_shape(model.init, jax.random.key(0), *example_inputs(model))
