"""The curvature of a loss at its parameters: the Hessian's largest eigenvalues and its trace, without the Hessian.

Pearlmutter, "Fast exact multiplication by the Hessian" (1994); Hutchinson (1990) for the trace; Yao et al.,
"PyHessian" (2019), arXiv:1912.07145, for both on deep nets.

    H v = ∇_w (∇L(w) · v)          v <- H v / |H v|,  λ = v · H v          tr H = E[v · H v],  v_i = ±1

The product is reverse over reverse: two backward passes, and no forward mode, which custom backward passes such as
those of dlcore's convolutions do not have. Plain gradient descent of rate a is unstable along an eigenvector of
λ > 2 / a; the largest eigenvalue is what is called sharpness.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

__all__ = ["hessian_trace", "hessian_vector_product", "top_eigenvalues"]


def hessian_vector_product(loss: Callable[[Any], jax.Array], params: Any, vector: Any) -> Any:
    """H v, a tree like `params`. loss: params -> scalar. vector: a tree like `params`."""

    def slope(params: Any) -> jax.Array:
        return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, jax.grad(loss)(params), vector)))

    return jax.grad(slope)(params)


def top_eigenvalues(
    loss: Callable[[Any], jax.Array],
    params: Any,
    key: jax.Array,
    count: int = 1,
    steps: int = 100,
    tolerance: float = 1e-4,
) -> tuple[jax.Array, Any]:
    """(values [count], vectors: a tree like `params` with a leading axis of `count`), by power iteration.

    The eigenvalues largest in magnitude, with their signs, the largest first. After each, the iteration goes on at
    right angles to those found. It ends once the value changes by less than the share `tolerance` in a step, or after
    `steps`; two values close to each other take long to part, and then the value is the better known one.

    Raises:
      ValueError: count is not in [1, number of parameters], or steps is not positive.
    """
    flat, unravel = ravel_pytree(params)
    if not 1 <= count <= flat.size:
        raise ValueError(f"count={count} must be in [1, {flat.size}], the number of parameters")
    if steps < 1:
        raise ValueError(f"steps={steps} must be at least 1")

    def product(v: jax.Array) -> jax.Array:
        return ravel_pytree(hessian_vector_product(loss, params, unravel(v)))[0]

    def unit(v: jax.Array) -> jax.Array:
        return v / jnp.maximum(jnp.linalg.norm(v), jnp.finfo(v.dtype).tiny)

    def next_eigenvector(found: jax.Array, k: jax.Array) -> tuple[jax.Array, jax.Array]:
        def away(v: jax.Array) -> jax.Array:
            return v - found.T @ (found @ v)

        def step(carry):
            v, value, _, i = carry
            w = away(product(v))
            return unit(w), v @ w, value, i + 1

        def goes_on(carry):
            _, value, before, i = carry
            return (i < 2) | ((i < steps) & (jnp.abs(value - before) > tolerance * jnp.abs(value)))

        start = unit(away(jax.random.normal(jax.random.fold_in(key, k), flat.shape, flat.dtype)))
        zero = jnp.zeros((), flat.dtype)
        v, value, _, _ = jax.lax.while_loop(goes_on, step, (start, zero, zero, 0))
        return found.at[k].set(v), value

    vectors, values = jax.lax.scan(next_eigenvector, jnp.zeros((count, flat.size), flat.dtype), jnp.arange(count))
    return values, jax.vmap(unravel)(vectors)


def hessian_trace(loss: Callable[[Any], jax.Array], params: Any, key: jax.Array, samples: int = 32) -> jax.Array:
    """[samples]: estimates v · H v of the trace, whose mean has variance 2 Σ_{i≠j} H_ij^2 / samples.

    Raises:
      ValueError: samples is not positive.
    """
    if samples < 1:
        raise ValueError(f"samples={samples} must be at least 1")
    flat, unravel = ravel_pytree(params)

    def estimate(key: jax.Array) -> jax.Array:
        v = jax.random.rademacher(key, flat.shape, flat.dtype)
        return v @ ravel_pytree(hessian_vector_product(loss, params, unravel(v)))[0]

    return jax.lax.map(estimate, jax.random.split(key, samples))
