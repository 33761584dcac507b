"""Standard JSON without NaN, and errors that name the file."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dlcore.json_content import parse_json

__all__ = ["json_text", "read_json", "write_json"]


def json_text(value: Any, indent: int | None = None) -> str:
    """Format a value as JSON; NaN and infinities become null.

    Args:
      value: value of dicts, sequences, arrays, numbers, strings and None.
      indent: spaces per level; None for one line.

    Returns:
      Text without a final newline.
    """
    return json.dumps(_plain(value), indent=indent, allow_nan=False)


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically.

    Args:
      path: path of the file.
      value: value, see `json_text`.
    """
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json_text(value, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def read_json(path: Path, keys: Sequence[str] = ()) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Args:
      path: path of the file.
      keys: keys that the object must have.

    Returns:
      The object.

    Raises:
      OSError: the file cannot be read.
      ValueError: the content is no object, or lacks a key; the message names the file.
    """
    try:
        content = parse_json(path.read_bytes())
    except ValueError as error:
        problem = "it is empty" if path.stat().st_size == 0 else f"it is not JSON ({error})"
        raise ValueError(f"{path}: {problem}; allowed: the file that the run wrote, restored or deleted") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: it holds no JSON object; allowed: the file that the run wrote, restored or deleted")
    if missing := [key for key in keys if key not in content]:
        raise ValueError(f"{path}: it has no {missing[0]!r}; allowed: the file that the run wrote, restored or deleted")
    return content
