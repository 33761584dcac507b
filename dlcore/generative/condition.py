"""What a generative network is given besides noise: a class, a text, an image, or nothing."""

from collections.abc import Callable
from numbers import Real
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlcore.ops.checks import check_class_ids, check_shapes

__all__ = ["Condition", "check_guidance", "class_condition", "classes_of", "entry_of", "read"]


class Condition(NamedTuple):
    """What a network is given besides x_t and t, or besides noise.

    Args:
      read: batch -> pytree of [B, ...] that the network takes besides.
      null: function from a condition to that of examples without one.
      classes: label of the batch -> number of classes, which training checks; None where there is no label.
    """

    read: Callable[[dict], Any]
    null: Callable[[Any], Any]
    classes: dict[str, int] | None = None


def class_condition(num_classes: int, name: str = "label") -> Condition:
    """Condition on a class; the null class is the one after the last.

    Args:
      num_classes: K.
      name: name of the labels [B] in the batch.

    Returns:
      The condition, labels [B] from 0 to K.
    """
    check_shapes(num_classes=(num_classes, "int >= 1"))

    def read(batch: dict) -> jax.Array:
        labels = entry_of(batch, name)
        check_class_ids(name, labels, num_classes + 1)
        return labels.astype(jnp.int32)

    return Condition(read, lambda y: jnp.full_like(y, num_classes), {name: num_classes})


def entry_of(batch: dict, name: str) -> jax.Array:
    """Look up what a network is conditioned on.

    Args:
      batch: the batch.
      name: name of the entry.

    Returns:
      The entry.
    """
    if name not in batch:
        raise ValueError(f"batch: has no {name!r}, which the network is given; allowed: a batch with it")
    return batch[name]


def check_guidance(guidance: float, conditional: bool) -> None:
    """Check that samples are guided only where the network has a condition.

    Args:
      guidance: strength of the condition in samples; 1 as trained.
      conditional: whether the network has a condition.
    """
    check_shapes(guidance=(guidance, "finite"))
    if not conditional and guidance != 1:
        raise ValueError(f"guidance={guidance}: the network takes no condition; allowed: 1")


def read(
    condition: Condition | None, batch: dict, keys: jax.Array | None = None, dropout: float | jax.Array = 0.0
) -> tuple:
    """Read the condition of a batch, and replace that of some examples by the null condition.

    Args:
      batch: batch whose condition is read.
      keys: [B], of the examples; not used without dropout.
      dropout: share of the examples that lose theirs, for classifier-free guidance.

    Returns:
      What the network takes after x and t: (pytree of [B, ...],), or ().
    """
    check_shapes(dropout=(dropout, "0 to 1"))
    if condition is None:
        return ()
    cond = condition.read(batch)
    if keys is None and not (isinstance(dropout, Real) and dropout == 0):
        raise ValueError(f"keys=None: dropout={dropout} draws; allowed: keys [B], or dropout=0")
    if not (isinstance(dropout, Real) and dropout == 0):
        cond_drop_mask = jax.vmap(lambda key: jax.random.bernoulli(jax.random.fold_in(key, 3), dropout))(keys)  # [B]

        def drop(value, null):
            return jnp.where(cond_drop_mask.reshape(-1, *[1] * (value.ndim - 1)), null, value)

        cond = jax.tree.map(drop, cond, condition.null(cond))
    return (cond,)


def classes_of(condition: Condition | None) -> Callable[[Any, dict], dict[str, int]] | None:
    """Build `Learner.classes` of a technique with a condition.

    Returns:
      (state, batch) -> {label: number of classes}; None where there is no label.
    """
    if condition is None or not condition.classes:
        return None
    return lambda state, batch: condition.classes
