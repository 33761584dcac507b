"""Run a traced function with some of its steps changed: other rules for ReLUs, or something added to a layer's output.

A network's activations and layers are then reached without a change to its code, whatever library it was written with:
`jax.nn.relu` and an intermediate output are both steps of the jaxpr that JAX traces.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from jax.extend import core

from dlcore.diagnostics.trace import inner_jaxpr

__all__ = ["count_calls", "evaluate_jaxpr", "name_of_call"]

_INLINED = ("jit", "closed_call", "remat2")
"""Calls whose body is evaluated in place; those with a derivative of their own keep it."""


def name_of_call(equation: core.JaxprEqn) -> str | None:
    """Return the name of a function with a custom derivative, such as `jax.nn.relu`.

    Args:
      equation: of a jaxpr.

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
      jaxpr: to search.
      name: as `name_of_call` tells it.

    Returns:
      The calls that the program text holds; one in a loop's body counts once.
    """
    count = 0
    for equation in jaxpr.eqns:
        if name_of_call(equation) == name:
            count += 1
        else:
            count += sum(count_calls(inner, name) for inner in core.jaxprs_in_params(equation.params))
    return count


def evaluate_jaxpr(
    closed: core.ClosedJaxpr,
    inputs: Sequence[jax.Array],
    *,
    replaced: Mapping[str, Callable[[jax.Array], jax.Array]] | None = None,
    added: Mapping[core.Var, jax.Array] | None = None,
) -> list[jax.Array]:
    """Evaluate a jaxpr with changes; the result can be traced, differentiated and mapped.

    Args:
      closed: from `jax.make_jaxpr`.
      inputs: one for each of its arguments.
      replaced: name of a function with a derivative of its own, as "relu" -> what to call instead.
      added: variable of the outermost jaxpr -> what is added to it before anything reads it.

    Returns:
      The outputs.

    Raises:
      ValueError: a function to replace is called in a loop or a branch.
    """
    replaced, values = replaced or {}, dict(zip(closed.jaxpr.constvars, closed.consts, strict=True))
    values.update(zip(closed.jaxpr.invars, inputs, strict=True))

    def read(atom):
        return atom.val if isinstance(atom, core.Literal) else values[atom]

    for equation in closed.jaxpr.eqns:
        arguments = [read(atom) for atom in equation.invars]
        outputs = _step(equation, arguments, replaced)
        for variable, value in zip(equation.outvars, outputs, strict=True):
            values[variable] = value + added[variable] if added and variable in added else value
    return [read(atom) for atom in closed.jaxpr.outvars]


def _step(equation: core.JaxprEqn, arguments: list[Any], replaced: Mapping[str, Callable]) -> Sequence[Any]:
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
