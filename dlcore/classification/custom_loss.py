"""A loss of each example: softmax cross-entropy, or a caller's own, whose shape is checked."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from dlcore.losses import softmax_cross_entropy_loss
from dlcore.ops.checks import check_finite, check_shapes

__all__ = ["Loss", "per_example_loss"]

Loss = Callable[[jax.Array, jax.Array], jax.Array]
"""(logits [B, C], labels [B] int or probabilities [B, C]) -> [B]."""


def per_example_loss(loss: Loss | None, label_smoothing: float | jax.Array) -> Loss:
    """Build the loss of each example.

    Args:
      loss: a caller's own, which smooths labels itself; None for softmax cross-entropy.
      label_smoothing: eps of softmax cross-entropy.

    Returns:
      The loss. Of a caller's own it raises a ValueError where that gives other than one number for each example.
    """
    check_finite("label_smoothing", label_smoothing)
    check_shapes(label_smoothing=(label_smoothing, "0 to 1"))
    if loss is None:
        return functools.partial(softmax_cross_entropy_loss, label_smoothing=label_smoothing)
    if not callable(loss):
        raise ValueError(f"loss={loss!r}: no function; allowed: (logits [B, C], labels [B]) -> [B], or None")
    if isinstance(label_smoothing, int | float) and label_smoothing == 0:
        return functools.partial(_one_each, loss)
    raise ValueError(
        f"label_smoothing={label_smoothing}: of the default loss only; allowed: 0 beside loss=, which may smooth"
    )


def _one_each(loss: Loss, logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Return a caller's loss, which must give one number for each example."""
    name = getattr(loss, "__name__", type(loss).__name__)
    try:
        losses = jnp.asarray(loss(logits, labels))
    except (TypeError, ValueError) as error:
        shapes, first = f"logits {logits.shape} and labels {labels.dtype} {labels.shape}", str(error).splitlines()[:1]
        allowed = "(logits [B, C], labels [B] int) -> [B], as softmax_cross_entropy_loss of dlcore.losses"
        raise ValueError(f"loss={name}: fails on {shapes} ({''.join(first)}); allowed: {allowed}") from error
    if losses.shape != logits.shape[:1]:
        raise ValueError(
            f"loss={name}: gives {losses.shape} for logits {logits.shape}; allowed: one number for each example, "
            f"{logits.shape[:1]}"
        )
    return losses
