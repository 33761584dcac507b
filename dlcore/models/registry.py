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
    alexnet, all_cnn, convnext, deit, densenet, efficientnet, googlenet, inception_v3, lenet, mixer, mlp, mnasnet,
    mobilenet_v1, mobilenet_v2, mobilenet_v3, nf_resnet, nin, regnet, resnet, resnet_cifar, resnet_v2, shufflenet_v2,
    squeezenet, swin, vgg, vit, xception, xception_aligned, zfnet,
)  # fmt: skip
"""One module a family. Each has MODELS and may have

INPUT_SHAPES: {name: (H, W, C)} where it is not 224x224x3. TORCH_NAMES, TORCH_OLD_NAMES, TORCH_IGNORED, from_torch: see
`dlcore.models.torch_weights`.
"""

MODELS: dict[str, Callable[..., nn.Module]] = {
    name: variant for family in FAMILIES for name, variant in family.MODELS.items()
}


def create_model(name: str, **fields: Any) -> nn.Module:
    """Build the model `name`, with `fields` in place of the variant's own.

    Raises ValueError for a name or a field that does not exist, with the nearest ones that do.
    """
    variant = MODELS[check_name(name)]
    allowed = [f.name for f in dataclasses.fields(getattr(variant, "func", variant)) if f.name != "parent"]
    for field in fields:
        if field not in allowed:
            raise ValueError(
                f"{name} has no field {field!r}{_nearest(field, allowed)}; its fields are {', '.join(allowed)}"
            )
    return variant(**fields)


def list_models(pattern: str = "*") -> list[str]:
    """The names that match a shell pattern ("resnet*_cifar"), sorted."""
    return sorted(fnmatch.filter(MODELS, pattern))


def input_shape(name: str) -> tuple[int, int, int]:
    """(H, W, C) of the images that the model `name` was published for."""
    return getattr(family_of(name), "INPUT_SHAPES", {}).get(name, (224, 224, 3))


def feature_info(model: nn.Module, shape: tuple[int, int, int] = (224, 224, 3)) -> dict[str, dict[str, int]]:
    """{stage: {"stride": pixels of the image a step of the map, "channels": C}} of `method="features"`.

    shape: (H, W, C) of an image. Nothing is computed. Raises ValueError for a model without features.
    """
    if not hasattr(model, "features"):
        raise ValueError(f"model is a {type(model).__name__}: it has no method `features`")
    found: dict[str, dict[str, int]] = {}  # in the model's order, which eval_shape would not keep

    def run() -> None:
        maps, _ = model.init_with_output(jax.random.key(0), jnp.zeros((1, *shape)), method="features")
        found.update({n: {"stride": round(shape[0] / m.shape[1]), "channels": m.shape[-1]} for n, m in maps.items()})

    jax.eval_shape(run)
    return found


def family_of(name: str) -> ModuleType:
    """The module in which the model `name` is; ValueError where there is none."""
    check_name(name)
    return next(family for family in FAMILIES if name in family.MODELS)


def check_name(name: str) -> str:
    """`name`, or a ValueError with those that are near it."""
    if name not in MODELS:
        raise ValueError(f"name is {name!r}, which is no model{_nearest(name, MODELS)}; list_models() names all")
    return name


def _nearest(word: str, words: Any) -> str:
    close = difflib.get_close_matches(word, list(words))
    return f" (did you mean {' or '.join(close)}?)" if close else ""
