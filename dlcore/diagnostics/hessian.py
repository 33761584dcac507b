"""The curvature of a loss: extreme eigenvalues and trace of the Hessian, without the Hessian matrix.

Pearlmutter, "Fast exact multiplication by the Hessian" (1994); Hutchinson (1990) for the trace; Yao et al.,
"PyHessian" (2019), arXiv:1912.07145, for both on deep nets; Lanczos (1950) for both ends of the spectrum.

    H v = ∇_w (∇L(w) · v)          v <- H v / |H v|,  λ = v · H v          tr H = E[v · H v],  v_i = ±1

The product is reverse over reverse: two backward passes, and no forward mode, which custom backward passes such as that
of `dlcore.nn.GroupNorm` lack. Plain gradient descent with learning rate a is unstable along an eigenvector with
λ > 2 / a; the largest eigenvalue is called sharpness.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from dlcore.choices import check_whole_number
from dlcore.ops.checks import check_shapes

__all__ = ["hessian_trace", "hessian_vector_product", "lanczos_eigenvalues", "top_eigenvalues"]


def hessian_vector_product(loss: Callable[[Any], jax.Array], params: Any, vector: Any) -> Any:
    """Compute H v, the Hessian of a loss times a vector, by two backward passes.

    Args:
      loss: params -> scalar.
      params: any pytree.
      vector: v, a tree like `params`.

    Returns:
      H v, a tree like `params`.
    """
    if jax.tree.map(jnp.shape, vector) != jax.tree.map(jnp.shape, params):
        raise ValueError("vector: of other names or shapes than params; allowed: a tree like params")

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
    """Compute the Hessian's eigenvalues of largest magnitude by power iteration with deflation.

    Each iteration ends when the value's relative change in a step is below `tolerance`, or after `steps`. If two values
    are close to each other, their vectors converge slowly; the value is then more accurate than the vector.

    Args:
      loss: params -> scalar.
      params: any pytree, with D numbers in all.
      key: PRNG key of the initial vectors.
      count: number of eigenvalues, from 1 to D.
      steps: largest number of Hessian-vector products for each.
      tolerance: relative change of the value in one step at which the iteration ends.

    Returns:
      (values [count] with their signs, the largest magnitude first; vectors, a tree like `params` with a leading axis
        `count`).
    """
    flat, unravel = ravel_pytree(params)
    check_shapes(tolerance=(tolerance, ">= 0"))
    check_whole_number("steps", steps, 1)
    check_whole_number("count", count)
    if not 1 <= count <= flat.size:
        raise ValueError(f"count={count}: out of range; allowed: [1, {flat.size}], the number of parameters")

    def product(v: jax.Array) -> jax.Array:
        return ravel_pytree(hessian_vector_product(loss, params, unravel(v)))[0]

    def unit(v: jax.Array) -> jax.Array:
        return v / jnp.maximum(jnp.linalg.norm(v), jnp.finfo(v.dtype).tiny)

    def next_eigenvector(basis: jax.Array, k: jax.Array) -> tuple[jax.Array, jax.Array]:
        def orthogonal(v: jax.Array) -> jax.Array:
            return v - basis.T @ (basis @ v)

        def step(carry):
            v, value, _, i = carry
            w = orthogonal(product(v))
            return unit(w), v @ w, value, i + 1

        def not_converged(carry):
            _, value, before, i = carry
            return (i < 2) | ((i < steps) & (jnp.abs(value - before) > tolerance * jnp.abs(value)))

        start = unit(orthogonal(jax.random.normal(jax.random.fold_in(key, k), flat.shape, flat.dtype)))
        zero = jnp.zeros((), flat.dtype)
        v, value, _, _ = jax.lax.while_loop(not_converged, step, (start, zero, zero, 0))
        return basis.at[k].set(v), value

    vectors, values = jax.lax.scan(next_eigenvector, jnp.zeros((count, flat.size), flat.dtype), jnp.arange(count))
    return values, jax.vmap(unravel)(vectors)


def lanczos_eigenvalues(loss: Callable[[Any], jax.Array], params: Any, key: jax.Array, steps: int = 60) -> jax.Array:
    """Compute eigenvalues of the Hessian in a Krylov space (Ritz values) by Lanczos iteration.

    Both ends of the spectrum converge first; the values between them show its shape, not single eigenvalues. Each new
    vector is orthogonalized against all earlier ones, twice: otherwise rounding errors would repeat eigenvalues.

    Args:
      loss: params -> scalar.
      params: any pytree, with D numbers in all.
      key: PRNG key of the starting vector.
      steps: number of Hessian-vector products, from 1 to D.

    Returns:
      values [steps], ascending.
    """
    flat, unravel = ravel_pytree(params)
    check_whole_number("steps", steps)
    if not 1 <= steps <= flat.size:
        raise ValueError(f"steps={steps}: out of range; allowed: [1, {flat.size}], the number of parameters")

    def unit(v: jax.Array) -> jax.Array:
        return v / jnp.maximum(jnp.linalg.norm(v), jnp.finfo(v.dtype).tiny)

    def step(carry: tuple[jax.Array, jax.Array], k: jax.Array) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        basis, v = carry
        basis = basis.at[k].set(v)
        product = ravel_pytree(hessian_vector_product(loss, params, unravel(v)))[0]
        residual = product
        for _ in range(2):
            residual = residual - basis.T @ (basis @ residual)
        return (basis, unit(residual)), product

    start = unit(jax.random.normal(key, flat.shape, flat.dtype))
    carry = (jnp.zeros((steps, flat.size), flat.dtype), start)
    (basis, _), products = jax.lax.scan(step, carry, jnp.arange(steps))
    projected = basis @ products.T
    return jnp.linalg.eigvalsh((projected + projected.T) / 2)


def hessian_trace(loss: Callable[[Any], jax.Array], params: Any, key: jax.Array, samples: int = 32) -> jax.Array:
    """Compute Hutchinson's estimates v · H v of the trace, with independent random signs v.

    Args:
      loss: params -> scalar.
      params: any pytree.
      key: PRNG key of the signs.
      samples: number of estimates.

    Returns:
      [samples]; their mean estimates the trace with variance 2 Σ_{i≠j} H_ij^2 / samples.
    """
    check_whole_number("samples", samples, 1)
    flat, unravel = ravel_pytree(params)

    def estimate(key: jax.Array) -> jax.Array:
        v = jax.random.rademacher(key, flat.shape, flat.dtype)
        return v @ ravel_pytree(hessian_vector_product(loss, params, unravel(v)))[0]

    return jax.lax.map(estimate, jax.random.split(key, samples))
