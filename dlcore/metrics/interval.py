"""How exactly a mean over examples is known."""

import math
from typing import Self

import jax
import jax.numpy as jnp

from dlcore.learner import Metric

__all__ = ["HalfInterval"]


class HalfInterval(Metric):
    """Half of the 95 % interval of a mean: 1.96 s / sqrt(n), s^2 the variance of a sample.

    Args:
      total: [] sum of the values.
      squares: [] sum of their squares.
      count: [] int32, n.
    """

    total: jax.Array
    squares: jax.Array
    count: jax.Array

    @classmethod
    def of(cls, values: jax.Array, mask: jax.Array | None = None) -> Self:
        """Count the examples of a batch.

        Args:
          values: [B].
          mask: [B], set where an example counts; None: all count.

        Returns:
          The metric.
        """
        keep = jnp.ones(values.shape, bool) if mask is None else mask > 0
        kept = jnp.where(keep, values, 0).astype(jnp.float32)
        return cls(kept.sum(), jnp.square(kept).sum(), keep.sum(dtype=jnp.int32))

    def compute(self) -> float | None:
        """Read the half width.

        Returns:
          In the unit of the values; None of fewer than two.
        """
        n = int(self.count)
        if n < 2:
            return None
        variance = max(0.0, float(self.squares) - float(self.total) ** 2 / n) / (n - 1)
        return 1.96 * math.sqrt(variance / n)
