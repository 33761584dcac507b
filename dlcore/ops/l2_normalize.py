"""Vectors of length 1, whatever their length was.

    y = x / max(|x|, 1e-12)          the floor of torch.nn.functional.normalize

Squares of numbers above 1e19 overflow in float32, and those below 1e-19 are 0: the vector is divided by its largest
number first.
"""

import jax
import jax.numpy as jnp

from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import acc_dtype_of

__all__ = ["l2_normalize"]

_FLOOR = 1e-12


def l2_normalize(x: jax.Array, axis: int = -1) -> jax.Array:
    """Scale vectors to length 1.

    Args:
      x: [..., D], floating.
      axis: axis of the vectors.

    Returns:
      [..., D] of the same dtype; vectors shorter than 1e-12 are divided by 1e-12, so that zero stays zero.

    Raises:
      ValueError: the numbers are integers, which have no fractions, or there is no such axis.
    """
    check_shapes(axis=(axis, f"int {-x.ndim} to {max(x.ndim - 1, 0)}"))
    dtype = x.dtype
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"x.dtype={dtype}: a direction needs fractions; allowed: floating dtypes")
    x = x.astype(acc_dtype_of(dtype))
    largest = jax.lax.stop_gradient(jnp.maximum(jnp.abs(x).max(axis, keepdims=True), 1e-30))
    x = x / largest
    floor = jnp.square(_FLOOR / largest)
    return (x * jax.lax.rsqrt(jnp.maximum(jnp.square(x).sum(axis, keepdims=True), floor))).astype(dtype)
