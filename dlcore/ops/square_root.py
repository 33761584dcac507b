"""The square root with a finite gradient at 0."""

import jax
import jax.numpy as jnp

__all__ = ["safe_sqrt"]


def safe_sqrt(x: jax.Array) -> jax.Array:
    """Square root whose gradient at 0 is 0, where that of `jnp.sqrt` is infinite and spoils the sum it belongs to.

    Args:
      x: [...], floating.

    Returns:
      [...]; NaN for NaN and below 0.
    """
    return jnp.where(x == 0, 0, jnp.sqrt(jnp.where(x == 0, 1, x)))
