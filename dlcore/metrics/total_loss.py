"""A loss of several parts, each a mean over things of its own (boxes, pixels, images), over all devices."""

from typing import Any

import jax
import jax.numpy as jnp

from dlcore.learner import Metric, Metrics, Sum
from dlcore.ops.replica import psum, replica_count

__all__ = ["TotalLoss", "normalize_losses"]


class TotalLoss(Metric):
    """A loss whose parts are means over different things: the sum of the means.

    Args:
      parts: {name: Sum}.
    """

    parts: dict[str, Sum]

    def compute(self) -> float | None:
        """Add up the means of the parts that counted something.

        Returns:
          The loss; None where no part counted.
        """
        values = [value for part in self.parts.values() if (value := part.compute()) is not None]
        return sum(values) if values else None


def normalize_losses(sums: dict[str, Any]) -> tuple[jax.Array, Metrics]:
    """Divide each sum of a batch by its count over all devices, and add the quotients up.

    Args:
      sums: {name: total, or (total, count)}, [] each, and "num_foreground", the count of those without one.

    Returns:
      (loss [], metrics of the batch: "loss" and each name of `sums`).
    """
    sums, zero = dict(sums), jnp.zeros(())
    count = sums.pop("num_foreground")
    parts = {name: Sum(*value) if isinstance(value, tuple) else Sum(value, count) for name, value in sums.items()}
    shared = all(part.count is count for part in parts.values())
    total: Metric = Sum(sum((part.total for part in parts.values()), zero), count) if shared else TotalLoss(parts)
    counts = psum({name: part.count for name, part in parts.items()})
    means = (part.total / jnp.where(counts[name] > 0, counts[name], 1) for name, part in parts.items())
    value = sum(means, zero)
    return replica_count() * value, jax.tree.map(at_most_float32, {"loss": total, **parts})


def at_most_float32(x: jax.Array) -> jax.Array:
    """Return floating numbers in float32, counts as they are."""
    return x.astype(jnp.float32) if jnp.issubdtype(x.dtype, jnp.floating) else x
