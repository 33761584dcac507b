"""Variances and squared distances without cancellation.

    var = E (x - E x)^2                     not E x^2 - (E x)^2
    |x - y|^2 = sum_d (x_d - y_d)^2         not |x|^2 - 2 x·y + |y|^2

In float32 the other forms lose all digits where the mean is a few thousand deviations, or where two groups of points
are far from each other: then no center helps. The differences of all pairs are summed as they are computed: no array of
all N M D of them is kept, nor in the backward pass. On a CPU it takes 2 to 8 times as long as a matrix product.
"""

import jax
import jax.core
import jax.numpy as jnp

from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype, to_same_origin
from dlcore.ops.replica import pmean

__all__ = ["nearest_points", "population_moments", "squared_distances"]


def population_moments(x: jax.Array, axes: int | tuple[int, ...] | None = None):
    """Mean and biased variance, in two passes; under pmap over all replicas, of equally many values each.

    Args:
      x: [...], of any type.
      axes: axes to reduce; None for all.

    Returns:
      (mean, variance) without the reduced axes, at least float32.
    """
    x = to_acc_dtype(x)
    mean = pmean(x.mean(axes))
    inner = mean if axes is None else jnp.expand_dims(mean, axes)
    return mean, pmean(jnp.square(x - inner).mean(axes))


def squared_distances(x: jax.Array, y: jax.Array) -> jax.Array:
    """Squared Euclidean distances between all pairs of points, by their differences.

    Args:
      x: [N, D], of any type.
      y: [M, D].

    Returns:
      [N, M], at least float32. Those of float64 and whole numbers in NumPy are right wherever the origin is.
    """
    check_shapes(x=(x, "N D"), y=(y, "M D"))
    return _squared_distances(*to_same_origin(x, y))


def nearest_points(x: jax.Array, y: jax.Array) -> jax.Array:
    """Find the nearest of several points by Euclidean distance.

    Args:
      x: [..., D], of any type.
      y: [M, D].

    Returns:
      [...] int32, rows of `y`; the first of several at the same distance, and 0 for a point that is NaN.
    """
    check_shapes(y=(y, "M D"), x=(x, "... D"))
    if not len(y):
        raise ValueError(f"y.shape={y.shape}: no points; allowed: at least one")
    return _squared_distances(*to_same_origin(x, y)).argmin(-1).astype(jnp.int32)


@jax.jit
@jax.checkpoint
def _squared_distances(x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.square(x[..., None, :] - y).sum(-1)
