"""Jaxprs: all equations of a program, the function of a call, and one interpreter for values of any kind.

The values may be arrays, as when the program runs, or facts about arrays, such as the inputs that they depend on or
their receptive fields. The caller supplies the rule for one equation.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, jaxprs_in_params

__all__ = ["inner_jaxpr", "propagate", "scan_counts", "walk"]

T = TypeVar("T")


def walk(jaxpr: Jaxpr, times: int = 1) -> Iterator[tuple[JaxprEqn, int]]:
    """Yield all equations; those of calls, loops and branches follow the equation that contains them.

    Args:
      jaxpr: the program.
      times: number of times that it runs.

    Yields:
      (equation, number of times that it runs): the product of the lengths of the `scan`s around it. Each branch of a
      `cond`, and one iteration of a `while`, count once.
    """
    for equation in jaxpr.eqns:
        yield equation, times
        turns = equation.params["length"] if equation.primitive.name == "scan" else 1
        for inner in jaxprs_in_params(equation.params):
            yield from walk(inner, times * turns)


def inner_jaxpr(equation: JaxprEqn) -> ClosedJaxpr | None:
    """Return the jaxpr of the function that an equation calls.

    Args:
      equation: an equation of a jaxpr.

    Returns:
      The jaxpr; None for an operation, a loop, a branch or a reduction.
    """
    name, inner = equation.primitive.name, equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
    if inner is None or name in ("scan", "while", "cond") or name.startswith("reduce"):
        return None
    inner = inner if hasattr(inner, "jaxpr") else ClosedJaxpr(inner, ())
    return inner if len(inner.jaxpr.invars) == len(equation.invars) else None


def scan_counts(equation: JaxprEqn) -> tuple[int, int]:
    """Count the constants and the carry of a `scan`, by shapes: scanned arrays have one axis more than in its body.

    Args:
      equation: a `scan` of a jaxpr; its inputs are constants, carry and scanned arrays, its outputs carry and results.

    Returns:
      (number of constants, number of arrays in the carry).
    """
    body = equation.params["jaxpr"].jaxpr

    def unscanned(outer: Sequence[Any], inner: Sequence[Any]) -> int:
        return sum(a.aval.ndim == b.aval.ndim for a, b in zip(outer, inner, strict=True))

    num_carry = unscanned(equation.outvars, body.outvars)
    return unscanned(equation.invars, body.invars) - num_carry, num_carry


def propagate(
    jaxpr: Jaxpr,
    inputs: Sequence[T],
    rule: Callable[[JaxprEqn, list[T]], Iterable[T]],
    *,
    consts: Sequence[T] | None = None,
    literal: Callable[[Any], T] = lambda value: None,
) -> list[T]:
    """Propagate values through a program, equation by equation.

    Args:
      jaxpr: the program.
      inputs: one value per argument.
      rule: (equation, values of its inputs) -> values of its outputs.
      consts: one value per constant; None assigns None to each.
      literal: number in the program text -> its value.

    Returns:
      The values of the outputs.
    """
    consts = [None] * len(jaxpr.constvars) if consts is None else consts
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *inputs], strict=True))

    def read(atom: Any) -> T:
        return literal(atom.val) if isinstance(atom, Literal) else values[atom]

    for equation in jaxpr.eqns:
        outputs = rule(equation, [read(atom) for atom in equation.invars])
        values.update(zip(equation.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]
