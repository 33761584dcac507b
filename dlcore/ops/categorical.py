"""Draws from categorical distributions: argmax of (s - max s) / T + Gumbel noise, in float32 or more.

In half precision the noise has so few values that most draws tie, and the first of them wins. The largest score is
subtracted before the division, which then overflows at no temperature.
"""

from numbers import Real

import jax
import jax.numpy as jnp

from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype

__all__ = ["sample_categorical"]


def sample_categorical(key: jax.Array, logits: jax.Array, temperature: float | jax.Array = 1.0) -> jax.Array:
    """Draw the index of a category.

    Args:
      key: PRNG key.
      logits: [..., K], unnormalized log-probabilities; -inf rules a category out.
      temperature: T, [] or [...]; 0 takes the first of the largest logits.

    Returns:
      [...] int32; -1, which is no category, where a logit is NaN or inf, or all are -inf.
    """
    check_shapes(temperature=(temperature, "... >= 0"))
    logits = to_acc_dtype(logits)
    scores = logits - logits.max(-1, keepdims=True)
    index = scores.argmax(-1)
    if not (isinstance(temperature, Real) and temperature == 0):
        temperature = jnp.asarray(temperature, logits.dtype)
        divisor = jnp.where(temperature > 0, temperature, 1)[..., None]
        index = jnp.where(temperature > 0, jax.random.categorical(key, scores / divisor), index)
    return jnp.where(jnp.isnan(scores).any(-1), -1, index).astype(jnp.int32)
