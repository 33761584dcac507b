"""Variances and squared distances that subtract a center before they square.

    var = E (x - E x)^2                                  not E x^2 - (E x)^2
    |x - y|^2 = |x - c|^2 - 2 (x - c)·(y - c) + |y - c|^2              c: the mean of y

In float32 the forms without a center lose all digits where the mean is a few thousand deviations.
"""

import jax
import jax.numpy as jnp

from dlcore.ops.checks import check_shapes
from dlcore.ops.replica import pmean

__all__ = ["nearest_points", "population_moments", "squared_distances"]


def population_moments(x: jax.Array, axes: int | tuple[int, ...] | None = None):
    """Mean and biased variance, in two passes; under pmap over all replicas, of equally many values each.

    Args:
      x: [...], floating.
      axes: axes to reduce; None for all.

    Returns:
      (mean, variance) without the reduced axes.
    """
    mean = pmean(x.mean(axes))
    inner = mean if axes is None else jnp.expand_dims(mean, axes)
    return mean, pmean(jnp.square(x - inner).mean(axes))


def squared_distances(x: jax.Array, y: jax.Array) -> jax.Array:
    """Squared Euclidean distances between all pairs of points, by one matrix product.

    Args:
      x: [N, D].
      y: [M, D].

    Returns:
      [N, M], none negative.

    Raises:
      ValueError: the points differ in D.
    """
    check_shapes(x=(x, "N D"), y=(y, "M D"))
    x, y = _centered(x, y)
    products = jnp.einsum("nd,md->nm", x, y, precision=jax.lax.Precision.HIGHEST)
    return jnp.maximum(jnp.square(x).sum(1)[:, None] - 2 * products + jnp.square(y).sum(1)[None], 0)


def nearest_points(x: jax.Array, y: jax.Array) -> jax.Array:
    """Find the nearest of several points by Euclidean distance.

    Args:
      x: [..., D].
      y: [M, D].

    Returns:
      [...] int32, rows of `y`; the first of several at the same distance, and 0 for a point that is NaN.

    Raises:
      ValueError: the points differ in D, or `y` has none.
    """
    check_shapes(y=(y, "M D"), x=(x, "... D"))
    if not len(y):
        raise ValueError(f"y.shape={y.shape}: no points; allowed: at least one")
    x, y = _centered(x, y)
    products = jnp.einsum("...d,md->...m", x, y, precision=jax.lax.Precision.HIGHEST)
    return (jnp.square(y).sum(-1) - 2 * products).argmin(-1).astype(jnp.int32)


def _centered(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Both without the mean of `y`, of which no distance depends, so that no gradient goes through it."""
    center = jax.lax.stop_gradient(y.mean(0))
    return x - center, y - center
