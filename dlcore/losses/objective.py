"""From the losses of examples, parts and tasks to the one number that is minimised.

    full loss:   L = 1/N sum_i L_i + lambda R(W)
    many tasks:  L = sum_k w_k L_k

With a sum in place of the mean, the rate of learning and lambda change their scale and nothing else.
"""

from collections.abc import Mapping
from typing import Literal

import jax
import jax.numpy as jnp

from dlcore.losses._precision import at_least_float32

__all__ = ["full_loss", "multi_task_loss"]


def full_loss(
    losses: jax.Array,
    penalty: jax.Array = 0.0,
    weight: float | jax.Array = 1.0,
    mask: jax.Array | None = None,
    reduction: Literal["mean", "sum"] = "mean",
) -> jax.Array:
    """The scalar of the losses [N] of a batch and of the penalty [] on the parameters, times its weight lambda.

    mask: [N]; examples of mask 0 do not count, and without any the data's part is 0. Raises ValueError for another
    reduction.
    """
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction is {reduction!r}; it must be 'mean' or 'sum'")
    losses = at_least_float32(losses)
    keep = jnp.ones(losses.shape, bool) if mask is None else mask > 0
    data = jnp.where(keep, losses, 0).sum()
    if reduction == "mean":
        data = data / jnp.maximum(keep.sum(), 1)
    return data + weight * penalty


def multi_task_loss(losses: Mapping[str, jax.Array], weights: Mapping[str, float | jax.Array]) -> jax.Array:
    """The weighted sum of scalar losses; a weight of 0 leaves that task's head without a gradient.

    Raises ValueError where the names of the two are not the same.
    """
    if losses.keys() != weights.keys():
        raise ValueError(f"weights are for {sorted(weights)}; they must be for the losses {sorted(losses)}")
    return sum(weights[name] * losses[name] for name in sorted(losses))
