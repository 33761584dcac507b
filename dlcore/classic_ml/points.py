"""Points [N, D]: their validation and their squared distances.

    |x - y|^2 = |x|^2 - 2 x·y + |y|^2         one matrix product, no array of differences [N, M, D]

Digits cancel in it: subtract a common mean first if the points lie far from 0.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["check_points", "squared_distances"]


def check_points(name: str, x: Any, least: int = 1, dim: int | None = None) -> jax.Array:
    """Validate points and convert them to floating point, float64 only where jax has it enabled.

    Args:
      name: of the argument, for the message.
      x: [N, D], finite.
      least: the smallest N allowed.
      dim: the D required; None allows any.

    Returns:
      [N, D] float.

    Raises:
      ValueError: `x` is not [N, D] (with D = dim), has fewer than `least` points, or one that is not finite.
    """
    shape = np.shape(x)
    if len(shape) != 2 or shape[0] < least or shape[1] < 1 or dim not in (None, shape[1]):
        raise ValueError(f"{name}.shape={shape}: wrong shape; allowed: [N, {dim or 'D'}] with N of at least {least}")
    x = jnp.asarray(x)
    x = x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.float32)
    if not np.isfinite(np.asarray(x)).all():
        raise ValueError(f"{name}: has values that are not finite; allowed: finite values")
    return x


def squared_distances(x: jax.Array, y: jax.Array) -> jax.Array:
    """Squared Euclidean distances between all pairs of points.

    Args:
      x: [N, D].
      y: [M, D].

    Returns:
      [N, M], none negative.
    """
    products = jnp.einsum("nd,md->nm", x, y, precision=jax.lax.Precision.HIGHEST)
    return jnp.maximum(jnp.square(x).sum(1)[:, None] - 2 * products + jnp.square(y).sum(1)[None], 0)
