"""Vectors of length 1, whatever their length was.

    y = x / max(|x|, floor)          1e-12 is torch.nn.functional.normalize's; 0 keeps the direction at any length

Squares of numbers above 1e19 overflow in float32, and those below 1e-19 are 0: the vector is divided by its largest
number first.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import result_dtype, to_acc_dtype

__all__ = ["cosine_distance", "l2_normalize", "unit_rows"]


def l2_normalize(x: jax.Array, axis: int | tuple[int, ...] | None = -1, floor: float = 1e-12) -> jax.Array:
    """Scale vectors to length 1.

    Args:
      x: [..., D].
      axis: axis or axes of the vectors; None takes all numbers as one vector.
      floor: least length that a vector is divided by; 0 for what must not depend on a scale, such as gradients.

    Returns:
      [..., D]; zero stays zero, with the gradient 0.
    """
    x, dtype = to_acc_dtype(x), result_dtype(x)
    check_shapes(floor=(floor, ">= 0"))
    if isinstance(axis, int):
        check_shapes(axis=(axis, f"int {-x.ndim} to {max(x.ndim - 1, 0)}"))
    largest = jnp.abs(x).max(axis, keepdims=True)
    largest = jax.lax.stop_gradient(jnp.where(largest == 0, 1, largest))
    x = x / largest
    squared = jnp.square(x).sum(axis, keepdims=True)
    is_zero = squared == 0
    squared = jnp.maximum(jnp.where(is_zero, 1, squared), jnp.square(floor / largest))
    return jnp.where(is_zero, 0, x * jax.lax.rsqrt(squared)).astype(dtype)


def cosine_distance(x: jax.Array, y: jax.Array) -> jax.Array:
    """Compute 1 - cos of the angle between vectors: half the squared difference of their directions.

    In float32 the cosine of an angle below 3e-4 is 1, while the directions still differ.

    Args:
      x: [..., D], of any length.
      y: [..., D].

    Returns:
      [...] from 0 to 2, at least float32; 1, with the gradient 0, where one of the two vectors is zero.
    """
    check_shapes(x=(x, "... D"), y=(y, "... D"))
    x, y = (l2_normalize(to_acc_dtype(v), floor=0) for v in (x, y))
    is_zero = (x == 0).all(-1) | (y == 0).all(-1)
    return jnp.where(is_zero, 1, jnp.square(x - y).sum(-1) / 2)


def unit_rows(x: Any) -> np.ndarray:
    """Scale vectors to length 1 on the host, in float64.

    Args:
      x: [N, D].

    Returns:
      [N, D] float64; a vector of zeros stays.
    """
    x = np.asarray(x, np.float64)
    largest = np.abs(x).max(1, keepdims=True, initial=0)
    x = x / np.where(largest > 0, largest, 1)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1)  # of numbers up to 1, one of them 1
