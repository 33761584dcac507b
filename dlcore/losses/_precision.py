"""Losses are computed in float32 at least."""

import jax
import jax.numpy as jnp
import numpy as np


def at_least_float32(x: jax.Array) -> jax.Array:
    """float32 for bfloat16, float16 and integers; float64 stays."""
    if not isinstance(x, jax.Array) and np.asarray(x).dtype.kind in "iu":
        return jnp.asarray(np.asarray(x, np.float32))  # by jnp alone, what int32 cannot hold would wrap
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
