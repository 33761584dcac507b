"""Gradients of expectations by samples: the score function, the pathwise derivative, and a loss that joins both.

Williams 1992 (score function); Kingma & Welling 2014, arXiv:1312.6114 (pathwise); Schulman, Heess, Weber & Abbeel 2015,
arXiv:1506.05254 (stochastic computation graphs).

    score function    d/dθ E[f(x)] = E[f(x) d/dθ log p(x; θ)]           f may jump, x may be discrete
    pathwise          d/dθ E[f(x(ε; θ))] = E[f'(x) d/dθ x(ε; θ)]        f and x must be differentiable
    surrogate loss    cost + Σ_w log p(w) stop_gradient(cost)           w: the samples that no derivative passes

Each estimator gives one gradient a sample, so that means, standard errors and variances can be read off.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from dlcore.ops.checks import check_shapes

__all__ = ["enumerated_gradient", "pathwise_gradients", "score_function_gradients", "surrogate_loss"]


def surrogate_loss(cost: jax.Array, log_probability: jax.Array) -> jax.Array:
    """Make a scalar whose derivative is an unbiased gradient of the expected cost of a stochastic graph.

    Args:
      cost: [], of one sample; derivatives pass through what is differentiable.
      log_probability: [], of the discrete or cut samples before the cost, given what they depend on.

    Returns:
      [], of the same value as the cost.
    """
    check_shapes(cost=(cost, ""), log_probability=(log_probability, ""))
    score = log_probability - jax.lax.stop_gradient(log_probability)
    return cost + score * jax.lax.stop_gradient(cost)


def score_function_gradients(
    sample: Callable[[Any, jax.Array], Any],
    log_probability: Callable[[Any, Any], jax.Array],
    cost: Callable[[Any], jax.Array],
    params: Any,
    keys: jax.Array,
    baseline: float | jax.Array = 0.0,
) -> Any:
    """Estimate d/dθ E[f(x)] by f(x) d/dθ log p(x; θ); f is only evaluated.

    Args:
      sample: (params, key) -> x.
      log_probability: (params, x) -> [], log p(x; params).
      cost: x -> [], f.
      params: θ.
      keys: [N] random keys, one a sample.
      baseline: subtracted from f(x); it leaves the mean as it is where it does not depend on x.

    Returns:
      Gradients of the structure of `params`, [N, ...] each.
    """
    check_shapes(baseline=(baseline, "finite"))
    _check_keys(keys)

    def one(key):
        x = jax.lax.stop_gradient(sample(params, key))
        value = cost(x)
        check_shapes(cost=(value, ""))
        # (cost - baseline) times the score, no gradient through the sample.
        weight = jax.lax.stop_gradient(value) - baseline
        return jax.grad(lambda p: weight * log_probability(p, x))(params)

    return jax.jit(jax.vmap(one))(keys)


def _check_keys(keys: jax.Array) -> None:
    if not len(keys):
        raise ValueError("keys.shape=(0,): none; allowed: at least one")


def pathwise_gradients(
    sample: Callable[[Any, jax.Array], Any], cost: Callable[[Any], jax.Array], params: Any, keys: jax.Array
) -> Any:
    """Estimate d/dθ E[f(x)] by the derivative along each sample, f'(x) dx/dθ.

    Where `sample` or `cost` jumps, its derivative is zero almost everywhere, and so is the estimate, wrongly.

    Args:
      sample: (params, key) -> x, differentiable in the params.
      cost: x -> [], f, differentiable.
      params: θ.
      keys: [N] random keys, one a sample.

    Returns:
      Gradients of the structure of `params`, [N, ...] each.
    """
    _check_keys(keys)
    return jax.jit(jax.vmap(lambda key: jax.grad(lambda p: cost(sample(p, key)))(params)))(keys)


def enumerated_gradient(
    probabilities: Callable[[Any], jax.Array], cost: Callable[[jax.Array], jax.Array], params: Any, count: int
) -> Any:
    """Differentiate the sum over all values of a discrete variable: sum_x p(x; θ) f(x).

    Args:
      probabilities: params -> [count], p.
      cost: x -> [], f of a value 0, ..., count - 1.
      params: θ.
      count: number of the values.

    Returns:
      The exact gradient, of the structure of `params`.
    """
    check_shapes(count=(count, "int >= 1"))
    costs = jax.vmap(cost)(jnp.arange(count))

    def expected(p):
        p_of_x = probabilities(p)
        check_shapes(probabilities=(p_of_x, str(count)), cost=(costs, str(count)))
        return p_of_x @ costs

    return jax.grad(expected)(params)
