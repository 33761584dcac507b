"""A finding: the verdict of a diagnosis."""

from typing import NamedTuple

__all__ = ["Finding"]


class Finding(NamedTuple):
    """A verdict with an explanation.

    Args:
      kind: the verdict, one of those that the diagnosing function lists, such as "too high" or "dead".
      message: sentence with the numbers and advice.
    """

    kind: str
    message: str
