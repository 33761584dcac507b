"""Rotary positions: queries and keys are turned by an angle that grows with their position, so scores see offsets only.

    (a_i, b_i) -> (a_i cos t - b_i sin t,  b_i cos t + a_i sin t),    t = p / period^(2 i / D),  i < D / 2

Su et al. 2021, "RoFormer", arXiv:2104.09864. The pairs are channels i and i + D / 2, as in Llama's published weights;
the paper pairs neighbors.
"""

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["rotary"]


def rotary(x: jax.Array, positions: jax.Array, period: float = 10_000.0) -> jax.Array:
    """Turn the pairs of channels of queries or keys by their position's angles, computed in at least float32.

    Args:
      x: [..., T, H, D], D even.
      positions: [..., T] int.
      period: the wavelength of the last pair approaches 2 pi times this.

    Returns:
      The shape and dtype of x.

    Raises:
      ValueError: D is odd.
    """
    features = x.shape[-1]
    if features % 2:
        raise ValueError(f"x.shape={x.shape}: {features} channels are no pairs; allowed: an even number")
    acc_dtype = jnp.promote_types(x.dtype, jnp.float32)
    frequencies = jnp.asarray(period ** (-np.arange(0, features, 2) / features), acc_dtype)
    angles = positions[..., None, None].astype(acc_dtype) * frequencies
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    a, b = jnp.split(x.astype(acc_dtype), 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1).astype(x.dtype)
