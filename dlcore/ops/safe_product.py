"""The product in which 0 times infinity is 0, as in p log p."""

import jax
import jax.numpy as jnp

from dlcore.ops.precision import to_acc_dtype

__all__ = ["safe_product"]


def safe_product(weights: jax.Array | float, values: jax.Array) -> jax.Array:
    """Multiply values by weights; an infinite value of weight 0 gives 0, with gradients 0, where `*` gives NaN.

    Terms such as p log p need it where a logit is -inf: an action, a class or a token that is not allowed.

    Args:
      weights: [...], such as probabilities.
      values: [...], such as log-probabilities, which may be -inf.

    Returns:
      [...], at least float32 of integers; NaN for NaN, and infinite where an infinite value has weight.
    """
    if not isinstance(weights, float | int) and jnp.issubdtype(weights.dtype, jnp.integer):
        weights = to_acc_dtype(weights)
    if jnp.issubdtype(values.dtype, jnp.integer):
        values = to_acc_dtype(values)
    # The inner `where` keeps the gradient from meeting 0 times infinity.
    return weights * jnp.where((jnp.asarray(weights) == 0) & jnp.isinf(values), 0, values)
