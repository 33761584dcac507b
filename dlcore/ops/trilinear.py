"""Forward and reverse mode for a trilinear form whose three contractions are programs of their own.

    t(x0, x1, x2) is linear in each of its operands, such as <conv(x, w), g>
    f_i(the other two) = dt / dx_i              f_2 = conv, f_0 = its gradient by x, f_1 = its gradient by w
    df_i = f_i(da, b) + f_i(a, db)              the derivative of a contraction, forward
    <x_i, f_i(x_j, x_k)> = <x_j, f_j(x_i, x_k)>         the transpose of a contraction, reverse

Each contraction is the derivative of the others, so derivatives of every order in either mode are contractions again,
and the programs that compute them are never differentiated themselves: they may hold loops and
`lax.platform_dependent`.

A value is computed by a `jax.custom_jvp` function, which those who read jaxprs see through. A tangent is computed by a
primitive, the only kind of operation whose transpose can be chosen; its parameter `jaxpr` holds the same program.
"""

import functools
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.extend import core
from jax.interpreters import ad, batching, mlir

__all__: list[str] = []

Mapped = tuple[tuple[bool, ...], ...]
"""For each axis of `vmap` around the form, innermost first: which of its operands have this axis, in front."""


class TrilinearForm(Protocol):
    """A trilinear form: hashable, and equal to another one where it computes the same."""

    def compute(self, output: int, a: jax.Array, b: jax.Array) -> jax.Array:
        """Contract the form with two of its operands.

        Args:
          output: number of the third operand, from 0 to 2.
          a: the first of the two others.
          b: the second of the two others.

        Returns:
          An array of the shape and dtype of operand `output`.
        """
        ...


def contract(form: TrilinearForm, output: int, a: jax.Array, b: jax.Array) -> jax.Array:
    """Contract a trilinear form with two of its operands; differentiable in both modes, to any order.

    Args:
      form: the trilinear form.
      output: number of the operand that is left, from 0 to 2.
      a: the first of the two others.
      b: the second of the two others; under `shard_map` it varies over the same axes as `a`.

    Returns:
      An array of the shape and dtype of operand `output`.
    """
    return _contract(form, (), output, a, b)


def _operands(output: int) -> list[int]:
    return [i for i in range(3) if i != output]


def _compute(form: TrilinearForm, mapped: Mapped, output: int, a: jax.Array, b: jax.Array) -> jax.Array:
    if not mapped:
        return form.compute(output, a, b)
    *inner, axis = mapped
    axes = tuple(0 if axis[i] else None for i in _operands(output))
    y = jax.vmap(functools.partial(_compute, form, tuple(inner), output), axes)(a, b)
    return y if axis[output] else y.sum(0)  # an operand that all examples share


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _contract(form: TrilinearForm, mapped: Mapped, output: int, a: jax.Array, b: jax.Array) -> jax.Array:
    return _compute(form, mapped, output, a, b)


@functools.partial(_contract.defjvp, symbolic_zeros=True)
def _contract_jvp(form: TrilinearForm, mapped: Mapped, output: int, primals: tuple, tangents: tuple) -> tuple:
    (a, b), (da, db) = primals, tangents
    pairs = [(da, b)] * (not isinstance(da, SymbolicZero)) + [(a, db)] * (not isinstance(db, SymbolicZero))
    terms = [_linear(form, mapped, output, *pair) for pair in pairs]
    return _contract(form, mapped, output, a, b), sum(terms[1:], terms[0])  # one of them varies, or nobody asks


_linear_p = core.Primitive("contract")


def _linear(form: TrilinearForm, mapped: Mapped, output: int, a: jax.Array, b: jax.Array) -> jax.Array:
    """`_contract` as a primitive."""
    jaxpr = jax.make_jaxpr(functools.partial(_contract, form, mapped, output))(a, b)
    return _linear_p.bind(a, b, form=form, mapped=mapped, output=output, jaxpr=jaxpr)


def _transpose(operand: int, cotangent: Any, *operands: Any, form: Any, mapped: Mapped, output: int, jaxpr: Any) -> Any:
    """Return the cotangent of the first (0) or second (1) operand, from the other."""
    numbers = _operands(output)
    values = {output: cotangent, numbers[1 - operand]: operands[1 - operand]}
    a, b = (values[i] for i in sorted(values))
    return _contract(form, mapped, numbers[operand], a, b)


def _batch(operands: Any, axes: Any, *, form: Any, mapped: Mapped, output: int, jaxpr: Any) -> tuple[jax.Array, int]:
    a, b = (x if axis is None else jnp.moveaxis(x, axis, 0) for x, axis in zip(operands, axes, strict=True))
    without = [i for i, axis in zip(_operands(output), axes, strict=True) if axis is None]
    added = tuple(i not in without for i in range(3))
    return _linear(form, (*mapped, added), output, a, b), 0


_linear_p.def_impl(lambda a, b, form, mapped, output, jaxpr: _compute(form, mapped, output, a, b))
_linear_p.def_abstract_eval(lambda a, b, jaxpr, **_: jaxpr.out_avals[0])
ad.defbilinear(_linear_p, functools.partial(_transpose, 0), functools.partial(_transpose, 1))
batching.primitive_batchers[_linear_p] = _batch
mlir.register_lowering(_linear_p, mlir.lower_fun(lambda a, b, jaxpr, **_: core.jaxpr_as_fun(jaxpr)(a, b)))
