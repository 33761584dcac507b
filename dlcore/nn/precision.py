"""The dtype that a model computes in.

A model's `dtype` field is meant for speed (bfloat16), and None leaves it to inputs and parameters. A float64 parameter
or input means that gradients are being checked, so it overrides the field.
"""

from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["check_float_dtype", "compute_dtype"]


def check_float_dtype(name: str, dtype: Any) -> None:
    """Check that an argument is a dtype of floats.

    Args:
      name: name of the argument, for the message.
      dtype: dtype, its name, or None, which passes.
    """
    try:
        is_float = dtype is None or jnp.issubdtype(dtype, jnp.floating)
    except TypeError:
        is_float = False
    if not is_float:
        raise ValueError(f"{name}={dtype!r}: no floats; allowed: such as jnp.bfloat16")


def compute_dtype(dtype: Any, *trees: Any) -> Any:
    """Return the dtype to compute in: float64 where any array is, else `dtype`.

    Args:
      dtype: a model's field; None means by promotion.
      *trees: inputs and parameters, pytrees of arrays.

    Returns:
      A dtype, or None for promotion.
    """
    has_float64 = any(getattr(leaf, "dtype", None) == jnp.float64 for leaf in jax.tree.leaves(trees))
    return jnp.dtype(jnp.float64) if has_float64 else dtype
