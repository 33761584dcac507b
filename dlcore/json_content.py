"""JSON that was read from a file: nesting that is too deep for Python is an error of the text, as any other damage."""

import json
from typing import Any

__all__ = ["parse_json"]


def parse_json(text: str | bytes) -> Any:
    """Parse the text of a JSON file.

    Args:
      text: text, or bytes in UTF-8, UTF-16 or UTF-32.

    Returns:
      What it describes.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError(str(error)) from None
