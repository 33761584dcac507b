"""Vectors of length 1, whatever their length was.

    y = x / max(|x|, floor)          1e-12 is torch.nn.functional.normalize's; 0 keeps the direction at any length

Squares of numbers above 1e19 overflow in float32, and those below 1e-19 are 0: the vector is divided by its largest
number first.
"""

import jax
import jax.numpy as jnp

from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import result_dtype, to_acc_dtype

__all__ = ["l2_normalize"]


def l2_normalize(x: jax.Array, axis: int | tuple[int, ...] | None = -1, floor: float = 1e-12) -> jax.Array:
    """Scale vectors to length 1.

    Args:
      x: [..., D].
      axis: axis or axes of the vectors; None takes all numbers as one vector.
      floor: least length that a vector is divided by; 0 for what must not depend on a scale, such as gradients.

    Returns:
      [..., D]; zero stays zero.

    Raises:
      ValueError: there is no such axis.
    """
    x, dtype = to_acc_dtype(x), result_dtype(x)
    if isinstance(axis, int):
        check_shapes(axis=(axis, f"int {-x.ndim} to {max(x.ndim - 1, 0)}"))
    largest = jax.lax.stop_gradient(jnp.maximum(jnp.abs(x).max(axis, keepdims=True), 1e-30))
    x = x / largest
    # The squares sum to 1e-16 or more unless all are 0.
    least = jnp.maximum(jnp.square(floor / largest), 1e-16)
    return (x * jax.lax.rsqrt(jnp.maximum(jnp.square(x).sum(axis, keepdims=True), least))).astype(dtype)
