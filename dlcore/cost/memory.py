"""Where the memory of a training step goes: parameters, optimizer, other state, the batch, and temporaries.

Out of memory is mostly stored activations: the temporaries of a compiled step. They shrink with the batch, with
recomputation (remat), with bfloat16; the state shrinks with sharding.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.ops.checks import check_finite

__all__ = ["memory_report", "readable", "residual_bytes"]


def _bytes(tree: Any) -> int:
    """Bytes of all arrays (or abstract arrays); keys count as two words."""
    total = 0
    for leaf in jax.tree.leaves(tree):
        key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        total += leaf.size * (8 if key else np.dtype(leaf.dtype).itemsize)
    return total


def memory_report(state: Any, batch: Any, compiled: Any = None) -> dict[str, int]:
    """Bytes of a training step by part.

    Args:
      state: a learner's, of arrays or ShapeDtypeStructs, with `params` and `opt_state` where it has them.
      batch: batch of arrays or ShapeDtypeStructs.
      compiled: the compiled step, whose plan gives the temporaries (activations, gradients and workspace); None leaves
        them out, as does a platform that gives no plan.

    Returns:
      {"parameters", "optimizer", "other state", "batch": bytes over all devices; "temporaries": bytes of one device}.
    """
    parameters, optimizer = (_bytes(getattr(state, name, None)) for name in ("params", "opt_state"))
    sizes = {
        "parameters": parameters,
        "optimizer": optimizer,
        "other state": _bytes(state) - parameters - optimizer,
        "batch": _bytes(batch),
    }
    plan = compiled.memory_analysis() if hasattr(compiled, "memory_analysis") else None
    if plan is not None:
        sizes["temporaries"] = int(plan.temp_size_in_bytes)
    return sizes


def residual_bytes(function: Callable, *args: Any) -> int:
    """Bytes that `jax.vjp(function, *args)` stores between the forward and the backward pass: activations, and weights
    once.

    From shapes alone; nothing is run. This is what recomputation (remat) reduces. It may exceed the temporaries of the
    compiled step: weights and images are arguments there, XLA fuses small operations and computes them again, and the
    temporaries are those of one device.

    Args:
      function: function that JAX can differentiate.
      *args: arrays, or shapes and dtypes.

    Returns:
      Bytes.
    """
    if not callable(function):
        raise ValueError(f"function={function!r}: no function; allowed: one that JAX can differentiate")
    return _bytes(jax.eval_shape(lambda *args: jax.vjp(function, *args)[1], *args))


def readable(count: float) -> str:
    """Write a size with its unit: 512 -> "512 B", 1536 -> "1.5 KiB".

    Args:
      count: bytes.

    Returns:
      Text, in GiB at most.
    """
    check_finite("count", count)
    units = ("B", "KiB", "MiB", "GiB")
    power = 0 if count < 1 else min(int(math.log2(count)) // 10, len(units) - 1)
    return f"{count / 1024**power:.{1 if power else 0}f} {units[power]}"
