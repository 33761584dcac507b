"""From the losses of examples, parts and tasks to the one number that is minimized.

    full loss:   L = 1/N sum_i L_i + lambda R(W)
    many tasks:  L = sum_k w_k L_k

A sum in place of the mean changes the scale of the learning rate and of lambda, and nothing else.
Caruana 1997, Multitask Learning, gives the second form.
"""

from collections.abc import Mapping
from typing import Literal

import jax
import jax.numpy as jnp

from dlcore.choices import check_choice
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype

__all__ = ["full_loss", "masked_mean", "multi_task_loss"]


def masked_mean(values: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean of the values that count; NaN and infinity under the mask reach neither value nor gradient.

    Args:
      values: [...], commonly the losses of a batch.
      mask: [...]; values of mask 0 do not count, all others count once.

    Returns:
      Scalar; 0 where no value counts.
    """
    values = to_acc_dtype(values)
    check_shapes(values=(values, "..."), mask=(mask, "mask ..."))
    is_valid = mask > 0
    # where, not a product: a padded value may be NaN.
    return jnp.where(is_valid, values, 0).sum() / jnp.maximum(is_valid.sum(), 1)


def full_loss(
    losses: jax.Array,
    penalty: jax.Array | float = 0.0,
    weight: float | jax.Array = 1.0,
    mask: jax.Array | None = None,
    reduction: Literal["mean", "sum"] = "mean",
) -> jax.Array:
    """Reduce the losses of a batch to one number and add the weighted penalty on the parameters.

    Args:
      losses: [...], one loss an example.
      penalty: scalar R(W), such as `l2_penalty(params)`.
      weight: factor lambda on the penalty.
      mask: [...]; examples of mask 0 do not count. None counts all.
      reduction: "mean" or "sum" over the examples that count.

    Returns:
      Scalar; the penalty's part alone where no example counts.
    """
    check_choice("reduction", reduction, ("mean", "sum"))
    losses = to_acc_dtype(losses)
    check_shapes(losses=(losses, "..."), mask=(mask, "mask ... or None"), penalty=(penalty, ""))
    check_shapes(weight=(weight, ">= 0"))
    mask = jnp.ones(losses.shape, bool) if mask is None else mask
    data = masked_mean(losses, mask) if reduction == "mean" else jnp.where(mask > 0, losses, 0).sum()
    return data + weight * penalty


def multi_task_loss(losses: Mapping[str, jax.Array], weights: Mapping[str, float | jax.Array]) -> jax.Array:
    """Weighted sum of the tasks' losses; a weight of 0 leaves that task's head without a gradient.

    Args:
      losses: scalar by task.
      weights: factor by task.

    Returns:
      Scalar.
    """
    if losses.keys() != weights.keys():
        raise ValueError(f"weights={sorted(weights)}: other tasks than the losses'; allowed: {sorted(losses)}")
    if not losses:
        raise ValueError("losses: none; allowed: at least one task")
    for name, loss in losses.items():
        check_shapes(**{f"losses[{name!r}]": (loss, ""), f"weights[{name!r}]": (weights[name], "")})
    return jnp.asarray(sum(weights[name] * to_acc_dtype(losses[name]) for name in sorted(losses)))
