"""Models by name: the variants of every family in one dict."""

import dataclasses
import difflib
import fnmatch
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.models import (
    alexnet,
    all_cnn,
    convnext,
    deit,
    densenet,
    efficientnet,
    googlenet,
    inception_v3,
    lenet,
    mixer,
    mlp,
    mnasnet,
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v3,
    nf_resnet,
    nin,
    regnet,
    resnet,
    resnet_cifar,
    resnet_v2,
    shufflenet_v2,
    squeezenet,
    swin,
    vgg,
    vit,
    xception,
    xception_aligned,
    zfnet,
)

__all__ = ["FAMILIES", "MODELS", "create_model", "feature_info", "input_shape", "list_models"]

FAMILIES: tuple[ModuleType, ...] = (
    alexnet,
    all_cnn,
    convnext,
    deit,
    densenet,
    efficientnet,
    googlenet,
    inception_v3,
    lenet,
    mixer,
    mlp,
    mnasnet,
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v3,
    nf_resnet,
    nin,
    regnet,
    resnet,
    resnet_cifar,
    resnet_v2,
    shufflenet_v2,
    squeezenet,
    swin,
    vgg,
    vit,
    xception,
    xception_aligned,
    zfnet,
)
"""One module a family. Each has MODELS and may have

INPUT_SHAPES: {name: (H, W, C)} where it is not 224x224x3. TORCH_NAMES, TORCH_OLD_NAMES, TORCH_IGNORED, from_torch: see
`dlcore.models.torch_weights`.
"""

MODELS: dict[str, Callable[..., nn.Module]] = {
    name: variant for family in FAMILIES for name, variant in family.MODELS.items()
}


def create_model(name: str, **fields: Any) -> nn.Module:
    """Build a model by name.

    Args:
      name: a name of `list_models()`.
      fields: values in place of the variant's own fields, such as num_classes.

    Returns:
      The flax module.

    Raises:
      ValueError: there is no such model or field; close names are listed.
    """
    variant = MODELS[check_name(name)]
    allowed = [f.name for f in dataclasses.fields(getattr(variant, "func", variant)) if f.name != "parent"]
    for field in fields:
        if field not in allowed:
            raise ValueError(
                f"{field}={fields[field]!r}: not a field of {name}{_nearest(field, allowed)}; "
                f"allowed: {', '.join(allowed)}"
            )
    return variant(**fields)


def list_models(pattern: str = "*") -> list[str]:
    """List the models whose names match a shell pattern.

    Args:
      pattern: such as "resnet*_cifar"; "*" matches all.

    Returns:
      The names, sorted.
    """
    return sorted(fnmatch.filter(MODELS, pattern))


def input_shape(name: str) -> tuple[int, int, int]:
    """Return the shape of the images that a model was published for.

    Args:
      name: a name of `list_models()`.

    Returns:
      (H, W, C).

    Raises:
      ValueError: there is no such model.
    """
    return getattr(family_of(name), "INPUT_SHAPES", {}).get(name, (224, 224, 3))


def feature_info(model: nn.Module, shape: tuple[int, int, int] = (224, 224, 3)) -> dict[str, dict[str, int]]:
    """Describe the maps of `method="features"`; nothing is computed.

    Args:
      model: a model of `create_model`.
      shape: (H, W, C) of an image.

    Returns:
      {stage: {"stride": pixels of the image to one of the map, "channels": C}}, in the model's order.

    Raises:
      ValueError: the model has no method `features`.
    """
    if not hasattr(model, "features"):
        raise ValueError(
            f"model={type(model).__name__}: it has no feature maps; allowed: modules with a method `features`"
        )
    info: dict[str, dict[str, int]] = {}  # filled while tracing: eval_shape would sort its keys

    def run() -> None:
        maps, _ = model.init_with_output(jax.random.key(0), jnp.zeros((1, *shape)), method="features")
        info.update({n: {"stride": round(shape[0] / m.shape[1]), "channels": m.shape[-1]} for n, m in maps.items()})

    jax.eval_shape(run)
    return info


def family_of(name: str) -> ModuleType:
    """Return the module that defines the model `name`; ValueError where there is none."""
    check_name(name)
    return next(family for family in FAMILIES if name in family.MODELS)


def check_name(name: str) -> str:
    """Return `name`, or raise a ValueError that lists close names."""
    if name not in MODELS:
        raise ValueError(f"name={name!r}: unknown{_nearest(name, MODELS)}; allowed: those of list_models()")
    return name


def _nearest(word: str, words: Any) -> str:
    close = difflib.get_close_matches(word, list(words))
    return f" (did you mean {' or '.join(close)}?)" if close else ""
