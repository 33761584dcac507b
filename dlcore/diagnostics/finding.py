"""A finding: what a diagnosis says about a run."""

from typing import NamedTuple

__all__ = ["Finding"]


class Finding(NamedTuple):
    """One verdict, and the sentence that explains it.

    Args:
      kind: the verdict, one of the few that the function which gives it lists, such as "too high" or "dead".
      message: a sentence with the numbers, and what to try.
    """

    kind: str
    message: str
