"""Levels of a pixel as inputs and outputs of an autoregressive network, and its colors as blocks of channels."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from dlcore.ops.checks import check_range, check_shapes
from dlcore.ops.precision import to_acc_dtype

__all__ = ["check_blocks", "encode", "num_outputs", "to_logits"]


def encode(x: jax.Array, levels: int) -> jax.Array:
    """Turn levels to inputs of a network.

    Args:
      x: [...] in [0, levels).
      levels: levels, at least 2.

    Returns:
      [...] float32 in [-1, 1].
    """
    check_shapes(levels=(levels, "int >= 2"))
    check_range("x", x, 0, levels - 1)
    return 2 * x.astype(jnp.float32) / (levels - 1) - 1


def num_outputs(levels: int) -> int:
    """Count the numbers that describe a distribution over levels: one logit for two, else a softmax's.

    Args:
      levels: levels, at least 2.

    Returns:
      1 or `levels`.
    """
    check_shapes(levels=(levels, "int >= 2"))
    return 1 if levels == 2 else levels


def to_logits(h: jax.Array, levels: int) -> jax.Array:
    """Turn outputs of a network to logits of all levels: sigmoid(h) = softmax(0, h).

    Args:
      h: [..., num_outputs(levels)].
      levels: levels, at least 2.

    Returns:
      [..., levels], at least float32.
    """
    check_shapes(h=(h, f"... {num_outputs(levels)}"))
    check_shapes(levels=(levels, "int >= 2"))
    h = to_acc_dtype(h)
    return jnp.concatenate([jnp.zeros_like(h), h], -1) if levels == 2 else h


def check_blocks(model: Any, kernels: Sequence[str]) -> None:
    """Check that kernels have a center, and that features have a block for each color.

    Args:
      model: model with fields `colors`, `features` and `head_features`.
      kernels: fields that are sides of masked kernels.
    """
    for name in kernels:
        if getattr(model, name) % 2 == 0:
            raise ValueError(f"{name}={getattr(model, name)}: has no center; allowed: odd numbers")
    for name in ("features", "head_features"):
        if getattr(model, name) % model.colors:
            allowed = f"multiples of {model.colors}, the colors of a pixel"
            raise ValueError(f"{name}={getattr(model, name)}: has no equal block for each color; allowed: {allowed}")
