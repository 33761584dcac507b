"""Run a traced function with other rules for some of its steps, such as its ReLUs.

A network's activations are then reached without a change to its code, whatever library it was written with:
`jax.nn.relu` is a step of the jaxpr that JAX traces.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from jax.extend import core

from dlcore.diagnostics.jaxpr import inner_jaxpr, propagate, walk

__all__ = ["count_calls", "evaluate_jaxpr", "name_of_call"]

_INLINED = ("jit", "closed_call", "remat2")
"""Calls whose body is evaluated in place; those with a derivative of their own keep it."""


def name_of_call(equation: core.JaxprEqn) -> str | None:
    """Return the name of a function with a custom derivative, such as `jax.nn.relu`.

    Args:
      equation: an equation of a jaxpr.

    Returns:
      Its name, as "relu"; None for any other step.
    """
    if equation.primitive.name != "custom_jvp_call":
        return None
    body = equation.params["call_jaxpr"].jaxpr.eqns
    return body[0].params["name"] if len(body) == 1 and body[0].primitive.name == "jit" else None


def count_calls(jaxpr: core.Jaxpr, name: str) -> int:
    """Count the calls of a function with a custom derivative, in loops and branches too.

    Args:
      jaxpr: jaxpr to search.
      name: name, as `name_of_call` returns it.

    Returns:
      The calls that the program text holds; one in a loop's body counts once.
    """
    return sum(name_of_call(equation) == name for equation, _ in walk(jaxpr))


def evaluate_jaxpr(
    closed: core.ClosedJaxpr,
    inputs: Sequence[jax.Array],
    *,
    replaced: Mapping[str, Callable[[jax.Array], jax.Array]] | None = None,
) -> list[jax.Array]:
    """Evaluate a jaxpr with changes; the result can be traced, differentiated and mapped.

    Args:
      closed: from `jax.make_jaxpr`.
      inputs: one for each of its arguments.
      replaced: name of a function with a derivative of its own, as "relu" -> what to call instead.

    Returns:
      The outputs.

    Raises:
      ValueError: a function to replace is called in a loop or a branch.
    """
    rule = functools.partial(_step, replaced or {})
    return propagate(closed.jaxpr, inputs, rule, consts=closed.consts, literal=lambda value: value)


def _step(replaced: Mapping[str, Callable], equation: core.JaxprEqn, arguments: list[Any]) -> Sequence[Any]:
    kind, name = equation.primitive.name, name_of_call(equation)
    if name in replaced:
        return [replaced[name](*arguments)]
    if kind in _INLINED:
        return evaluate_jaxpr(inner_jaxpr(equation), arguments, replaced=replaced)
    for inner in core.jaxprs_in_params(equation.params):
        for other in replaced:
            if count_calls(inner, other):
                raise ValueError(f"{other}: is called inside of {kind}; allowed: outside of loops and branches")
    outputs = equation.primitive.bind(*arguments, **equation.primitive.get_bind_params(equation.params))
    return outputs if equation.primitive.multiple_results else [outputs]
