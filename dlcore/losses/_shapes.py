"""Checks for losses: batch axes come first and agree, every named axis has one size, and a number is in its range."""

import re

import jax
import jax.core
import jax.numpy as jnp

__all__ = ["check_shapes", "describe"]

_RANGE = re.compile(r"(?:(?P<sign>>=?) )?(?P<low>-?\d[\d.]*)(?(sign)| to (?P<below><)?(?P<high>\d[\d.]*))")


def describe(array: jax.Array | float) -> str:
    """An array's dtype and shape, as `float32[2, 3]`.

    Args:
      array: array or number.

    Returns:
      The text.
    """
    array = jnp.asarray(array)
    return f"{array.dtype}{list(array.shape)}"


def check_shapes(**arguments: tuple[jax.Array | float | None, str]) -> None:
    """Check each array against its axes: `labels=(labels, "int ... T")`.

    `...` stands for the batch axes, which must be the same for all; a name stands for one size, a number for itself;
    no axes mean a scalar; a leading `int` asks for an integer dtype. Nothing broadcasts. A scalar's range stands for
    its axes: `temperature=(temperature, "> 0")`, `">= 0"`, `"0 to 1"` or `"0 to <1"`; a traced number is not compared.

    Args:
      **arguments: (array, axes) by the name of the argument; an array of None is not checked.

    Raises:
      ValueError: an array has another rank, size or dtype, or a number is out of range.
    """
    sizes: dict[str, tuple[int, ...]] = {}
    for name, (array, axes) in arguments.items():
        if array is None:
            continue
        if limits := _RANGE.fullmatch(axes):
            axes = ""
            if jnp.ndim(array) == 0 and not isinstance(array, jax.core.Tracer):
                _check_number(name, float(array), *limits.groups())
        words, shape = axes.split(), jnp.shape(array)
        is_integer = words[:1] == ["int"]
        words = words[is_integer:]
        example = [word for word in words if word != "..."]
        split = max(len(shape) - len(example), 0)
        size_of = dict(sizes)
        fits = len(shape) >= len(example) and ("..." in words or split == 0)
        pairs = [("...", shape[:split])] if "..." in words else []
        for axis, size in [*pairs, *((axis, (size,)) for axis, size in zip(example, shape[split:], strict=False))]:
            fits &= sizes.setdefault(axis, (int(axis),) if axis.isdigit() else size) == size
        if not fits or (is_integer and not jnp.issubdtype(jnp.asarray(array).dtype, jnp.integer)):
            allowed = ", ".join(str(size) for word in words for size in size_of.get(word, (word,)))
            kind = "int" if is_integer else ""
            raise ValueError(f"{name}={describe(array)}: wrong shape or dtype; allowed: {kind}[{allowed}]")


def _check_number(name: str, value: float, above: str | None, low: str, below: str | None, high: str | None) -> None:
    inside = value > float(low) if above == ">" else value >= float(low)
    if high is not None:
        inside &= value < float(high) if below else value <= float(high)
    if not inside:
        most = f" to {'below ' if below else ''}{high}" if high is not None else ""
        least = f"{'above' if above == '>' else 'at least'} {low}" if high is None else low
        raise ValueError(f"{name}={value:g}: out of range; allowed: {least}{most}")
