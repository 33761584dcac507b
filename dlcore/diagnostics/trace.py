"""Tracing: run a function operation by operation and visit every intermediate value.

It works on any function that JAX can trace, so on every model and learner without changes. Operations carry the names
of flax modules, and inner functions (jit, custom derivatives, remat) are traced too. Loops and branches (scan, while,
cond) run as a whole; operations inside them are not visited.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.extend.core import Jaxpr, JaxprEqn

from dlcore.diagnostics.jaxpr import inner_jaxpr, propagate, walk

__all__ = ["Operation", "draws_random_numbers", "first_reads", "run_traced"]

RANDOM = {"random_bits", "threefry2x32", "rng_bit_generator", "rng_uniform"}


class Operation(NamedTuple):
    """One operation of a traced function.

    Args:
      name: name of the primitive, or of the inner function ("relu").
      module: path of the flax module, a/b/c.
      inside: names of the inner functions that contain it (unnamed calls are left out).
      params: parameters of the primitive, such as "axes".
      inputs: arrays, or tracers under jit.
      outputs: arrays, or tracers under jit.
      stopped: whether a stop_gradient blocks all gradients to it.
    """

    name: str
    module: str
    inside: tuple[str, ...]
    params: dict[str, Any]
    inputs: list
    outputs: list
    stopped: bool


def run_traced(function: Callable, *args: Any, visit: Callable[[Operation], None]) -> Any:
    """Run a function and call `visit` after each operation and each inner function.

    It works under jit: the values are then tracers, from which `visit` may compute outputs of the caller.

    Args:
      function: function that JAX can trace.
      *args: its arguments.
      visit: called with each `Operation`, in the order of computation.

    Returns:
      `function(*args)`.
    """
    closed, shape = jax.make_jaxpr(function, return_shape=True)(*args)
    outputs = _run(closed.jaxpr, closed.consts, jax.tree.leaves(args), visit, "", ())
    return jax.tree.unflatten(jax.tree.structure(shape), outputs)


def _run(jaxpr: Jaxpr, consts: list, args: list, visit: Callable, module: str, inside: tuple[str, ...]) -> list:
    reached = _reached_by_gradients(jaxpr)

    def rule(equation: JaxprEqn, inputs: list) -> list:
        path = "/".join(part for part in (module, str(equation.source_info.name_stack)) if part).strip("/")
        inner, names = inner_jaxpr(equation), (equation.params["name"],) if "name" in equation.params else ()
        if inner is None:
            outputs = equation.primitive.bind(*inputs, **equation.params)
            outputs = outputs if equation.primitive.multiple_results else [outputs]
        else:
            outputs = _run(inner.jaxpr, inner.consts, inputs, visit, path, inside + names)
        name = names[0] if inner is not None and names else equation.primitive.name
        visit(Operation(name, path, inside, equation.params, inputs, outputs, id(equation) not in reached))
        return outputs

    return propagate(jaxpr, args, rule, consts=consts, literal=lambda value: value)


def _reached_by_gradients(jaxpr: Jaxpr) -> set[int]:
    """Return the ids of equations that reach the outputs without a stop_gradient in between."""
    needed = {id(v) for v in jaxpr.outvars}
    reached = set()
    for equation in reversed(jaxpr.eqns):
        if equation.primitive.name != "stop_gradient" and any(id(v) in needed for v in equation.outvars):
            reached.add(id(equation))
            needed |= {id(v) for v in equation.invars}
    return reached


def first_reads(function: Callable, *args: Any) -> list[int | None]:
    """Find the first operation that reads each argument.

    Args:
      function: function that JAX can trace.
      *args: arrays, or shapes and dtypes.

    Returns:
      For every leaf of `args` the index of the operation, or the number of operations if only the return reads it; None
        if nothing reads it.
    """
    jaxpr = jax.make_jaxpr(function)(*args).jaxpr
    first: dict[int, int] = {}
    for number, variables in enumerate([*(equation.invars for equation in jaxpr.eqns), jaxpr.outvars]):
        for variable in variables:
            first.setdefault(id(variable), number)
    return [first.get(id(variable)) for variable in jaxpr.invars]


def draws_random_numbers(function: Callable, *args: Any) -> bool:
    """Return whether a function draws random numbers: active dropout, augmentation, sampled noise.

    Args:
      function: function that JAX can trace.
      *args: arrays, or shapes and dtypes.

    Returns:
      True if any operation draws, including those in loops, branches and calls.
    """
    return any(e.primitive.name in RANDOM for e, _ in walk(jax.make_jaxpr(function)(*args).jaxpr))
