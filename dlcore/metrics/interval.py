"""How exactly a mean over examples is known."""

import math
from typing import Self

import jax
import jax.numpy as jnp

from dlcore.learner import Metric
from dlcore.ops.checks import check_shapes

__all__ = ["HalfInterval"]


class HalfInterval(Metric):
    """Half of the 95 % interval of a mean: 1.96 s / sqrt(n), s^2 the variance of a sample.

    Parts are joined by their means and centered squares, as in Chan, Golub & LeVeque 1983.

    Args:
      mean: [] of the values.
      squares: [] sum of their squared distances from the mean.
      count: [] int32, n.
    """

    mean: jax.Array
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
        check_shapes(values=(values, "B"), mask=(mask, "mask B or None"))
        valid = jnp.ones(values.shape, bool) if mask is None else mask > 0
        valid_values = jnp.where(valid, values, 0).astype(jnp.float32)
        count = valid.sum(dtype=jnp.int32)
        mean = valid_values.sum() / jnp.maximum(count, 1)
        return cls(mean, jnp.square(jnp.where(valid, valid_values - mean, 0)).sum(), count)

    def merge(self, other: Self) -> Self:
        """Join with a later part."""
        count = self.count + other.count
        least_one = count + (count == 0)
        # Merge means and squared deviations (Chan, Golub & LeVeque 1983).
        gap = other.mean - self.mean
        mean = self.mean + gap * (other.count / least_one)
        squares = self.squares + other.squares + gap**2 * (self.count / least_one) * other.count
        return type(self)(mean, squares, count)

    def collapse(self) -> Self:
        """Join the parts that lie along a leading axis."""
        count = self.count.sum(0)
        mean = (self.mean * self.count).sum(0) / (count + (count == 0))
        return type(self)(mean, (self.squares + self.count * (self.mean - mean) ** 2).sum(0), count)

    def compute(self) -> float | None:
        """Read the half width.

        Returns:
          In the unit of the values; None of fewer than two.
        """
        n = int(self.count)
        if n < 2:
            return None
        return 1.96 * math.sqrt(float(self.squares) / (n - 1) / n)
