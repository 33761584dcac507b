"""Points [N, D]: their validation, and their squared distances from `dlcore.ops`."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.ops.moments import squared_distances
from dlcore.ops.precision import to_acc_dtype

__all__ = ["check_points", "product_rounding", "squared_distances"]


def product_rounding(x: jax.Array, y: jax.Array) -> jax.Array:
    """Bound the rounding of |x|^2 - 2 x·y_m + |y_m|^2, the product of matrices in place of a squared distance.

    A sum of D products is rounded by at most D epsilon/2 times the sum of their sizes (Higham 2002, section 3.1).

    Args:
      x: [N, D].
      y: [M, D].

    Returns:
      [N], the largest error over all m.
    """
    x_length, y_length = (jnp.sqrt(jnp.square(points).sum(-1)) for points in (x, y))
    return (x.shape[-1] + 4) * jnp.finfo(x.dtype).eps / 2 * jnp.square(x_length + y_length.max())


def check_points(name: str, x: Any, least: int = 1, dim: int | None = None) -> jax.Array:
    """Validate points and convert them to the dtype to compute in.

    Args:
      name: name of the argument, for the message.
      x: [N, D], finite.
      least: the smallest N allowed.
      dim: the D required; None allows any.

    Returns:
      [N, D], at least float32.
    """
    try:
        shape, kind = np.shape(x), np.asarray(x).dtype.kind
    except ValueError as error:
        raise ValueError(f"{name}: rows of several lengths; allowed: [N, {dim or 'D'}]") from error
    if len(shape) != 2 or shape[0] < least or shape[1] < 1 or dim not in (None, shape[1]):
        raise ValueError(f"{name}.shape={shape}: wrong shape; allowed: [N, {dim or 'D'}] with N of at least {least}")
    if kind in "cmMOSU":
        raise ValueError(f"{name}.dtype={np.asarray(x).dtype}: no real numbers; allowed: integers, floats or bools")
    x = to_acc_dtype(x)
    if not np.isfinite(np.asarray(x)).all():
        raise ValueError(f"{name}: has values that are not finite; allowed: finite values")
    return x
