"""Transformers' segmenters by name: `create_model` and `load_torch` of `dlcore.models` know them."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.models.mit import MODELS as ENCODERS
from dlcore.models.torch_weights import count_from_torch, fill_from_torch
from dlcore.segmentation.segformer import SegFormer

__all__ = ["MODELS", "count_classes", "example_inputs", "from_torch_names"]


def _segformer(size: str, features: int) -> functools.partial:
    encoder = ENCODERS[f"mit_{size}"](num_classes=0)
    return functools.partial(SegFormer, backbone=encoder, num_classes=150, features=features)


MODELS = {
    **{f"segformer_{size}": _segformer(size, 256) for size in ("b0", "b1")},
    **{f"segformer_{size}": _segformer(size, 768) for size in ("b2", "b3", "b4", "b5")},
}


def example_inputs(model: nn.Module) -> tuple[jax.Array]:
    """Build inputs that initialize a segmenter.

    Args:
      model: model of `MODELS`.

    Returns:
      (an image [1, H, W, 3],).
    """
    return (jnp.zeros((1, 64, 64, 3)),)


def _shapes(model: nn.Module) -> Any:
    return jax.eval_shape(lambda: model.init(jax.random.key(0), *example_inputs(model)))


def count_classes(model: nn.Module, state_dict: Mapping[str, Any]) -> int | None:
    """Count the classes of published or fine-tuned weights.

    Args:
      model: model of `MODELS`.
      state_dict: {name: array}.

    Returns:
      C; None where the weights lack the head.

    Raises:
      ValueError: layers of the head have different numbers of classes.
    """
    size = model.num_classes
    shapes = _shapes(model), _shapes(model.clone(num_classes=size + 1))
    return count_from_torch("classes", size, shapes, state_dict, model.TORCH_NAMES, model.TORCH_OLD_NAMES)


def from_torch_names(model: nn.Module, state_dict: Mapping[str, Any]) -> Any:
    """Convert a state dict of transformers to the variables of a segmenter.

    Args:
      model: model of `MODELS`.
      state_dict: {name: array}.

    Returns:
      {"params": ..., "batch_stats": ...}.

    Raises:
      ValueError: entries are missing, left over or of a wrong shape; they are listed by name.
    """
    return fill_from_torch(
        _shapes(model), state_dict, model.TORCH_NAMES, what=type(model).__name__, older=model.TORCH_OLD_NAMES
    )
