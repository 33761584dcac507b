"""The backbone of a page as the encoder that features are measured by."""

from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn

from dlcore.data import labeled_images
from dlcore.data.augment import Preprocess
from dlcore.models import described_model
from dlcore.models.encoder import Encoder, module_encoder
from dlcore.models.vit import ViT
from dlcore.self_supervised.networks import pool_features

__all__ = ["backbone_encoder", "backbone_without_head", "encoder"]


def encoder(
    run: Any,
    model: nn.Module | None = None,
    variables: Callable[[Any], dict] | None = None,
    prepare: Preprocess | None = None,
    *,
    method: str = "features",
    read: Callable[[Any], jax.Array] = pool_features,
) -> Encoder:
    """Describe the encoder for fine-tuning; images are augmented as a classifier's are.

    Args:
      model: the module; None takes `--model`.
      variables: State -> the trained variables of `model`, or more; None takes those under "backbone".
      prepare: batch of images to the model's input; None takes `labeled_images.preprocess`.
      method: name of the module's method `(x, train)`; every model has one that returns {stage: map}.
      read: function from the result of `method` to features [B, D]; `pool_features` averages the last map.

    Returns:
      The encoder, for `fine_tuning`.
    """
    model = described_model.build(run, num_classes=1, axis_name=None) if model is None else model
    prepare, augment = prepare or labeled_images.preprocess(run), labeled_images.augmentation(run.flags, run.spec)

    def backbone_of(state: Any) -> dict:
        trees = {"params": state.params, **state.model_state}
        return {name: leaves["backbone"] for name, leaves in trees.items() if "backbone" in leaves}

    return module_encoder(
        model, prepare, run.spec["image_shape"], variables or backbone_of, read, method=method, augment=augment
    )


def backbone_without_head(run: Any, **fields: Any) -> nn.Module:
    """Build the backbone of `--model`; a ViT has no head, so that it gives its class token.

    Args:
      **fields: fields of the model to change.

    Returns:
      The flax module, for `backbone_features` of `dlcore.self_supervised.networks`.
    """
    model = described_model.build(run, num_classes=1, **fields)
    return model.clone(num_classes=0) if isinstance(model, ViT) else model


def backbone_encoder(run: Any, variables: Callable[[Any], dict] | None = None) -> Encoder:
    """Describe the backbone of `backbone_without_head` for fine-tuning.

    Args:
      variables: State -> the trained variables of the backbone; None takes those under "backbone".

    Returns:
      The encoder: the class token of a ViT, the mean of the last map of another model.
    """
    model = backbone_without_head(run, axis_name=None)
    if isinstance(model, ViT):
        return encoder(run, model, variables, method="__call__", read=lambda token: token)
    return encoder(run, model, variables)
