"""What `dlcore models` lists, read from zoo.json: neither jax nor a model is imported.

`python -m dlcore.models.zoo` writes the file.
"""

import functools
import json
import re
from pathlib import Path
from typing import Any

from dlcore.choices import check_choice

__all__ = ["STORED", "all_stored_models", "natural_order", "stored_models"]

STORED = Path(__file__).with_name("zoo.json")


def all_stored_models() -> dict[str, dict[str, dict[str, Any]]]:
    """Read what is stored of all models.

    Returns:
      {kind: rows of `stored_models`}.
    """
    return json.loads(STORED.read_text(encoding="utf-8"))


@functools.cache
def stored_models(kind: str) -> dict[str, dict[str, Any]]:
    """Read what is stored of the models of a kind; neither jax nor a model is imported.

    Args:
      kind: name from `dlcore.models.registry.FILES`: image, tokens, pairs, encoder, detection, segmentation or
        generative.

    Returns:
      {name: {"family": file, "parameters": count, "reads": "224x224x3" or "tokens"}}, sorted.
    """
    models = all_stored_models()
    check_choice("kind", kind, models)
    return models[kind]


def natural_order(name: str) -> list[tuple[str, int]]:
    """Return a key that sorts names as a reader does: resnet18 before resnet101.

    Args:
      name: a name.

    Returns:
      The key.
    """
    return [(text, int(number or 0)) for text, number in re.findall(r"(\D*)(\d*)", name)]
