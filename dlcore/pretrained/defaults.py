"""What transformers' classes take where a nested configuration leaves a value out.

Of a configuration within another, such as an image tower or a backbone, transformers writes the values alone that
differ from the defaults of its class: `google/siglip-base-patch16-224` says nothing of its towers but their types.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["DEFAULTS", "fill_defaults"]

DEFAULTS: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
"""{type of a model: its class's defaults that shape the network}; tests/pretrained/compare_defaults.py compares."""


def fill_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """Fill the values that nested configurations leave out.

    Args:
      config: content of config.json.

    Returns:
      The configuration; its own values, and what it says of the nested ones, stay.
    """
    return {
        key: {**DEFAULTS.get(str(value.get("model_type")), {}), **value} if isinstance(value, Mapping) else value
        for key, value in config.items()
    }
