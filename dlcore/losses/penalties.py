"""Penalties on the size of parameters, over any pytree of them.

    L2:           R(W) = sum W^2            spreads the weight over all inputs; half=True: 1/2 sum W^2
    L1:           R(W) = sum |W|            makes most weights exactly 0
    elastic net:  R(W) = sum (beta W^2 + |W|)                                   beta = 0 is L1
    orthogonal:   R(W) = |W^T W * (1 - I)|^2        outputs' weights stand at right angles, and keep their length

Tikhonov 1963 and Hoerl & Kennard 1970 (L2); Tibshirani 1996 (L1); Zou & Hastie 2005 (both); Brock, Donahue &
Simonyan 2018, arXiv:1809.11096 (the orthogonal penalty of BigGAN). The full loss is
`full_loss(losses, l2_penalty(params), weight)`. With half the square, gradient descent on E + lambda R shrinks weights
by eta lambda at every step, w <- w - eta dE/dw - eta lambda w: weight decay. With an adaptive optimizer it does not
(see dlcore.optim.create_optimizer, "adam" beside "adamw").

All take `where`, a function of a leaf's path and the leaf that says which leaves count, such as `is_kernel`: biases,
the scales of norms, tokens and positions are commonly left out. Sums are taken in at least float32. At 0 the gradient
of |w| is 0.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype

__all__ = ["elastic_net_penalty", "l1_penalty", "l2_penalty", "orthogonal_penalty"]

Where = Callable[[tuple, jax.Array], bool]


def l2_penalty(params: Any, half: bool = False, where: Where | None = None) -> jax.Array:
    """Sum of the squares of all parameters.

    Args:
      params: pytree of arrays.
      half: halve the sum, so that its gradient is the parameter itself.
      where: (path, leaf) -> whether the leaf counts, as `is_kernel`; None counts all.

    Returns:
      Scalar.
    """
    return (0.5 if half else 1.0) * _sum(jnp.square, params, where)


def l1_penalty(params: Any, where: Where | None = None) -> jax.Array:
    """Sum of the magnitudes of all parameters.

    Args:
      params: pytree of arrays.
      where: (path, leaf) -> whether the leaf counts, as `is_kernel`; None counts all.

    Returns:
      Scalar.
    """
    return _sum(_magnitude, params, where)


def elastic_net_penalty(params: Any, beta: float | jax.Array = 1.0, where: Where | None = None) -> jax.Array:
    """Sum of beta w^2 + |w| over all parameters.

    Args:
      params: pytree of arrays.
      beta: weight of the squares, at least 0; 0 gives the L1 penalty.
      where: (path, leaf) -> whether the leaf counts, as `is_kernel`; None counts all.

    Returns:
      Scalar.
    """
    check_shapes(beta=(beta, ">= 0"))
    return _sum(lambda w: beta * jnp.square(w) + _magnitude(w), params, where)


def orthogonal_penalty(params: Any, where: Where | None = None) -> jax.Array:
    """Sum of the squared products of the weights of two different outputs: 0 where all are orthogonal.

    Args:
      params: pytree of arrays; kernels are [..., inputs, outputs], and leaves of fewer than two axes add nothing.
      where: (path, leaf) -> whether the leaf counts, as `is_kernel`; None counts all.

    Returns:
      Scalar.
    """

    def products(w: jax.Array) -> jax.Array:
        if w.ndim < 2:
            return jnp.zeros((), w.dtype)
        w = w.reshape(-1, w.shape[-1])
        return jnp.square((w.T @ w) * (1 - jnp.eye(w.shape[-1], dtype=w.dtype)))

    return _sum(products, params, where)


def _magnitude(w: jax.Array) -> jax.Array:
    # |w| with the slope 0 at 0.
    return w * jax.lax.stop_gradient(jnp.sign(w))


def _sum(function: Callable, params: Any, where: Where | None) -> jax.Array:
    leaves = [(path, jnp.asarray(leaf)) for path, leaf in jax.tree_util.tree_leaves_with_path(params)]
    terms = [function(to_acc_dtype(leaf)).sum() for path, leaf in leaves if where is None or where(path, leaf)]
    return sum(terms, jnp.zeros((), jnp.result_type(float) if not terms else terms[0].dtype))
