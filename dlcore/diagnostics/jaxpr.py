"""Jaxprs: all equations of a program, the function behind a call, and one interpreter for values of any kind.

What passes through a program may be arrays, as when it runs, or what is to be known about each: which inputs it depends
on, the pixels that it sees. Whoever asks writes the rule of one equation.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, jaxprs_in_params

__all__ = ["inner_jaxpr", "propagate", "walk"]

T = TypeVar("T")


def walk(jaxpr: Jaxpr, times: int = 1) -> Iterator[tuple[JaxprEqn, int]]:
    """List all equations, those of calls, loops and branches behind the equation that holds them.

    Args:
      jaxpr: the program.
      times: how often it runs.

    Yields:
      (equation, how often it runs): as often as the `scan`s around it turn. Each branch of a `cond`, and one turn of a
      `while`, are counted.
    """
    for equation in jaxpr.eqns:
        yield equation, times
        turns = equation.params["length"] if equation.primitive.name == "scan" else 1
        for inner in jaxprs_in_params(equation.params):
            yield from walk(inner, times * turns)


def inner_jaxpr(equation: JaxprEqn) -> ClosedJaxpr | None:
    """Find the function that a call in a jaxpr stands for.

    Args:
      equation: an equation of a jaxpr.

    Returns:
      Its jaxpr; None for an operation, a loop, a branch or a reduction's step.
    """
    name, inner = equation.primitive.name, equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
    if inner is None or name in ("scan", "while", "cond") or name.startswith("reduce"):
        return None
    inner = inner if hasattr(inner, "jaxpr") else ClosedJaxpr(inner, ())
    return inner if len(inner.jaxpr.invars) == len(equation.invars) else None


def propagate(
    jaxpr: Jaxpr,
    inputs: Sequence[T],
    rule: Callable[[JaxprEqn, list[T]], Iterable[T]],
    *,
    consts: Sequence[T] | None = None,
    literal: Callable[[Any], T] = lambda value: None,
) -> list[T]:
    """Pass values through a program, equation by equation.

    Args:
      jaxpr: the program.
      inputs: one value for each of its arguments.
      rule: (equation, values of its inputs) -> values of its outputs.
      consts: one value for each of its constants; None gives each the value None.
      literal: number in the program text -> its value.

    Returns:
      The values of the results.
    """
    consts = [None] * len(jaxpr.constvars) if consts is None else consts
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *inputs], strict=True))

    def read(atom: Any) -> T:
        return literal(atom.val) if isinstance(atom, Literal) else values[atom]

    for equation in jaxpr.eqns:
        outputs = rule(equation, [read(atom) for atom in equation.invars])
        values.update(zip(equation.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]
