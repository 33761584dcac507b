"""Check an option that is one of a few words, or a whole number, and a command line that gives each option once.

The file imports neither jax nor the rest of dlcore, so that readers of data check their options without either.
"""

from collections.abc import Sequence
from numbers import Integral
from typing import Any, get_args

__all__ = ["check_choice", "check_given_once", "check_whole_number", "is_whole_number"]


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

    Raises:
      ValueError: it is a fraction, a word or a bool, or below the limit.
    """
    allowed = "integers" if least is None else f"integers from {least}"
    if not is_whole_number(value):
        raise ValueError(f"{name}={value!r}: no whole number; allowed: {allowed}")
    if least is not None and value < least:
        raise ValueError(f"{name}={value}: too small; allowed: at least {least}")


def check_given_once(argv: Sequence[str]) -> None:
    """Check that no option of a command line has two values, or is on and off: the first one would be lost silently.

    Args:
      argv: words of the command line; what comes after the word `--` belongs to another program.

    Raises:
      ValueError: an option has two values, or `--name` and `--noname` are both there.
    """
    values: dict[str, str] = {}
    switches: dict[str, str] = {}
    words = list(argv)[: argv.index("--")] if "--" in argv else list(argv)
    for word, following in zip(words, [*words[1:], ""], strict=False):
        if not word.startswith("--"):
            continue
        name, equals, value = word.partition("=")
        if not equals and not following.startswith("--"):
            value = following
        if not value and not equals:
            other = switches.setdefault(name.removeprefix("--").removeprefix("no"), name)
            if other != name:
                raise ValueError(f"{name}: given after {other}; allowed: one of the two")
        if values.setdefault(name, value) != value:
            raise ValueError(f"{name}={value}: given twice, as {name}={values[name]} before; allowed: one value")
