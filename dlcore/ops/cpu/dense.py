"""The product of a dense layer, whose weight gradient is fast on a CPU: `dot_general` for `flax.linen.Dense`.

    y[n, k] = sum_d x[n, d] w[d, k]         n runs over all dimensions of x but the last: [B, T, D] has N = B T rows
    dw[d, k] = sum_n x[n, d] dy[n, k]       the gradient sums over all of them

JAX writes dw as a sum over B and T, and XLA:CPU first copies dy to [K, B T] for it, which takes twice as long as the
product itself. Over the rows of one matrix, [B T, D], it needs no copy. A program for a TPU or a GPU keeps JAX's form,
because B and T may lie on different axes of a mesh there.
"""

import functools
from typing import Any

import jax
from jax import lax
from jax.custom_derivatives import SymbolicZero

__all__ = ["dense_dot_general", "dense_product"]


def dense_product(x: jax.Array, w: jax.Array, precision: Any = None, preferred_element_type: Any = None) -> jax.Array:
    """Multiply rows with a matrix, with the gradient above.

    Args:
      x: [..., D].
      w: [D, K].
      precision: precision, see `lax.dot_general`.
      preferred_element_type: dtype of the result, see `lax.dot_general`.

    Returns:
      [..., K].
    """
    options = precision, preferred_element_type
    return (_dense if x.ndim > 2 else _product)(options, x, w)


def dense_dot_general(
    lhs: jax.Array, rhs: jax.Array, dimension_numbers: Any, precision: Any = None, preferred_element_type: Any = None
) -> jax.Array:
    """Multiply as `lax.dot_general` does: `dense_product` in its signature, which flax asks for.

    Args:
      lhs: x, [..., D].
      rhs: w, [D, K].
      dimension_numbers: those of a dense layer, (((lhs.ndim - 1,), (0,)), ((), ())); others go to `lax.dot_general`.
      precision: precision, see `lax.dot_general`.
      preferred_element_type: dtype of the result, see `lax.dot_general`.

    Returns:
      [..., K].
    """
    (contracted, batch) = dimension_numbers
    layer = ((lhs.ndim - 1,), (0,)), ((), ())
    dimensions = tuple(map(tuple, contracted)), tuple(map(tuple, batch))
    if rhs.ndim != 2 or dimensions != layer:
        return lax.dot_general(lhs, rhs, dimension_numbers, precision, preferred_element_type)
    return dense_product(lhs, rhs, precision, preferred_element_type)


def _product(options: tuple, x: jax.Array, w: jax.Array) -> jax.Array:
    return lax.dot_general(x, w, (((x.ndim - 1,), (0,)), ((), ())), *options)


def _product_of_rows(options: tuple, x: jax.Array, w: jax.Array) -> jax.Array:
    rows = _product(options, x.reshape(-1, x.shape[-1]), w)
    return rows.reshape(*x.shape[:-1], w.shape[1])


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _dense(options: tuple, x: jax.Array, w: jax.Array) -> jax.Array:
    return _product(options, x, w)


@functools.partial(_dense.defjvp, symbolic_zeros=True)
def _tangent(options: tuple, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    """Return the derivative of the product; the gradient of w is the transpose of its second term."""
    (x, w), (dx, dw) = primals, tangents
    parts = []
    if not isinstance(dx, SymbolicZero):
        parts.append(_product(options, dx, w))
    if not isinstance(dw, SymbolicZero):
        of_rows, plain = (functools.partial(product, options) for product in (_product_of_rows, _product))
        parts.append(lax.platform_dependent(x, dw, cpu=of_rows, default=plain))
    return _product(options, x, w), sum(parts[1:], parts[0])  # one of them has a tangent, or nobody asks
