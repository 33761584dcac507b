"""Published weights of whole detectors, as the variables of the detector of the same form.

A detector names the exceptions to the rule of `dlcore.models.torch_weights` by its attribute `TORCH_NAMES`: pairs of
`re.sub` on the name that a leaf's path gives. `TORCH_OLD_NAMES`, where there, are such pairs that turn names of older
files, as most published weights have them, into today's. `TORCH_OPTIONAL`, where there, is a pattern of entries that
may be left over.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.models.torch_weights import fill_from_torch

__all__ = ["from_torch_names"]


def from_torch_names(
    model: nn.Module,
    state_dict: Mapping[str, Any],
    image_size: tuple[int, int] = (64, 64),
    inputs: tuple[jax.Array, ...] | None = None,
) -> Any:
    """Convert a state dict to the variables of a detector.

    Args:
      model: model with `TORCH_NAMES`, as `FCOS`, `RetinaNet`, `SSD` and `DETR`; its backbone has torch's form.
      state_dict: {name: array}, torchvision's of any version; for DETR, transformers' of any version, with its own or
        timm's ResNet, or the authors'.
      image_size: (height, width) of images that the model takes.
      inputs: what the model takes in place of images of that size; None for these.

    Returns:
      {"params": ..., "batch_stats": ...}.

    Raises:
      ValueError: entries are missing, left over or of a wrong shape; they are listed by name.
    """
    inputs = (jnp.zeros((1, *image_size, 3)),) if inputs is None else inputs
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *inputs))
    older = getattr(model, "TORCH_OLD_NAMES", ())
    what = type(model).__name__
    optional = getattr(model, "TORCH_OPTIONAL", "(?!)")
    return fill_from_torch(shapes, state_dict, model.TORCH_NAMES, what=what, older=older, optional=optional)
