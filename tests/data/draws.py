"""Stand-ins for random draws, so that a random augmentation can be worked out by hand."""

import jax
import jax.numpy as jnp


def quarter(key: jax.Array, shape: tuple = (), dtype: type = float, minval: float = 0, maxval: float = 1) -> jax.Array:
    """`jax.random.uniform` whose numbers all lie at a quarter of their range."""
    return jnp.full(shape, minval + 0.25 * (maxval - minval), dtype)
