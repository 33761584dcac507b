"""Published networks that find and match keypoints: `create_model` and `load_torch` of `dlcore.models` know them."""

import functools
import sys
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.models.torch_weights import fill_from_torch
from dlcore.vision3d.lightglue import LightGlue
from dlcore.vision3d.superglue import SuperGlue
from dlcore.vision3d.superpoint import SuperPoint

__all__ = ["MODELS", "example_inputs", "from_torch_names"]

MODELS = {
    "superpoint": functools.partial(SuperPoint),
    "superglue": functools.partial(SuperGlue, detector=SuperPoint()),
    "lightglue": functools.partial(LightGlue, detector=SuperPoint()),
}


def example_inputs(model: nn.Module) -> tuple[jax.Array]:
    """Build inputs that initialize a network.

    Args:
      model: model of `MODELS`.

    Returns:
      (an image [1, H, W, 3],), or (a pair of images [1, 2, H, W, 3],) for one that matches.
    """
    return (jnp.zeros((1, 32, 32, 3) if isinstance(model, SuperPoint) else (1, 2, 32, 32, 3)),)


def from_torch_names(model: nn.Module, state_dict: Mapping[str, Any]) -> Any:
    """Convert a state dict of transformers to the variables of a network.

    Args:
      model: model of `MODELS`.
      state_dict: {name: array}.

    Returns:
      {"params": ...}, and "batch_stats" where the network has them.
    """
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *example_inputs(model)))
    names = sys.modules[type(model).__module__].TORCH_NAMES
    return fill_from_torch(shapes, state_dict, names, what=type(model).__name__)
