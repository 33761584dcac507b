"""Models by name: the variants of every family in one dict."""

import dataclasses
import difflib
import fnmatch
from collections.abc import Callable
from typing import Any

from flax import linen as nn

from dlcore.models import lenet, mlp, resnet_cifar, vgg

__all__ = ["MODELS", "create_model", "list_models"]

MODELS: dict[str, Callable[..., nn.Module]] = {
    **lenet.MODELS,
    **mlp.MODELS,
    **resnet_cifar.MODELS,
    **vgg.MODELS,
}


def create_model(name: str, **fields: Any) -> nn.Module:
    """Build the model `name`, with `fields` in place of the variant's own.

    Raises ValueError for a name or a field that does not exist, with the nearest ones that do.
    """
    if name not in MODELS:
        raise ValueError(f"name is {name!r}, which is no model{_nearest(name, MODELS)}; list_models() names all")
    variant = MODELS[name]
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


def _nearest(word: str, words: Any) -> str:
    close = difflib.get_close_matches(word, list(words))
    return f" (did you mean {' or '.join(close)}?)" if close else ""
