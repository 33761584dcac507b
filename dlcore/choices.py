"""Check options: one of a few words, a whole number, two numbers; find options that a command line repeats.

The file imports neither jax nor the rest of dlcore, so that readers of data check their options without either.
"""

import os
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, get_args

__all__ = ["check_choice", "check_pair", "check_path", "check_whole_number", "is_whole_number", "repeated_options"]


def check_choice(name: str, value: Any, allowed: Any) -> None:
    """Check that an option is one of its choices.

    Args:
      name: of the argument, for the error.
      value: what was given.
      allowed: the choices, as a `Literal` type or a collection.
    """
    choices = get_args(allowed) or tuple(allowed)
    if value not in choices:
        raise ValueError(f"{name}={value!r}: unknown; allowed: {', '.join(map(str, choices))}")


def is_whole_number(value: Any) -> bool:
    """Whether a value is a whole number.

    Args:
      value: what was given.

    Returns:
      True for integers of Python and NumPy, which no bool is.
    """
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_whole_number(name: str, value: Any, least: int | None = None) -> None:
    """Check that an argument is a whole number.

    Args:
      name: of the argument, for the error.
      value: what was given.
      least: the smallest allowed number; None for no limit.
    """
    allowed = "integers" if least is None else f"integers from {least}"
    if not is_whole_number(value):
        raise ValueError(f"{name}={value!r}: no whole number; allowed: {allowed}")
    if least is not None and value < least:
        raise ValueError(f"{name}={value}: too small; allowed: at least {least}")


def check_pair(name: str, value: Any) -> None:
    """Check that an argument is two numbers, such as a range (low, high) or a size (height, width).

    Args:
      name: of the argument, for the error.
      value: what was given; its numbers may be traced.
    """
    is_pair = isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2
    is_pair |= getattr(value, "shape", None) == (2,)
    if not is_pair or not all(isinstance(part, Real) or getattr(part, "shape", None) == () for part in value):
        raise ValueError(f"{name}={value!r}: no pair; allowed: two numbers")


def check_path(name: str, path: Any) -> None:
    """Check that an argument is a path, which need not exist.

    Args:
      name: of the argument, for the error.
      path: what was given.
    """
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"{name}={path!r:.60}: no path; allowed: a text or a pathlib.Path")


def repeated_options(argv: Sequence[str]) -> list[str]:
    """Describe the options of a command line that have two values, or are on and off: the last one counts.

    Args:
      argv: words of the command line; what comes after the word `--` belongs to another program.

    Returns:
      A sentence for each value that a later one replaces.
    """
    values: dict[str, str] = {}
    notes = []
    words = list(argv)[: argv.index("--")] if "--" in argv else list(argv)
    for word, following in zip(words, [*words, ""][1:], strict=True):
        if not word.startswith("--"):
            continue
        name, equals, value = word.partition("=")
        if not equals and not following.startswith("--"):
            value = following
        given = f"{name}={value}" if value or equals else name
        option = name if given != name else name.removeprefix("--").removeprefix("no")
        if values.setdefault(option, given) != given:
            notes.append(f"{given}: replaces {values[option]}, which stands before it")
            values[option] = given
    return notes
