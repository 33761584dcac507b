"""Check an option that is one of a few words.

The file imports neither jax nor the rest of dlcore, so that readers of data check their options without either.
"""

from typing import Any, get_args

__all__ = ["check_choice"]


def check_choice(name: str, value: Any, allowed: Any) -> None:
    """Check that an option is one of its choices.

    Args:
      name: of the argument, for the error.
      value: what was given.
      allowed: the choices, as a `Literal` type or a collection.

    Raises:
      ValueError: it is none of them.
    """
    choices = get_args(allowed) or tuple(allowed)
    if value not in choices:
        raise ValueError(f"{name}={value!r}: unknown; allowed: {', '.join(map(str, choices))}")
