"""Sums of metrics over many steps: 64-bit on the host, and without integer overflow on the device.

JAX counts in int32. A step may count up to 2^31 - 1 items (pixels), so that two steps may overflow one word. The device
adds the int32 leaves of metrics in two words, low and high:

    low' = low + x mod 2^32      high' = high + floor(x / 2^32) + (1 where low' < x, both unsigned)
"""

from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from dlcore.learner import Metric, Metrics

__all__ = ["Sums", "fold", "merge"]


def merge(left: Metrics, right: Metrics) -> Metrics:
    """Merge two sets of metrics.

    Args:
      left: values by name.
      right: values by name.

    Returns:
      The merged metrics, for the names in `right`.
    """
    return {name: left[name].merge(right[name]) for name in right}


def fold(host: Metrics | None, device: Metrics) -> Metrics:
    """Add fetched sums to the 64-bit sums on the host.

    Args:
      host: sums so far; None if there are none.
      device: sums from the device.

    Returns:
      The sums of both in int64 and float64.
    """

    def widen(leaf: np.ndarray) -> np.ndarray:
        leaf = np.asarray(leaf)
        return leaf.astype(np.int64 if np.issubdtype(leaf.dtype, np.integer) else np.float64)

    values = jax.tree.map(widen, device)
    return values if host is None else merge(host, values)


def _is_count(metric: Metric, leaf: Any) -> bool:
    """Return whether a leaf of a metric is added in two words; a metric with its own `merge` has no such leaf."""
    return type(metric).merge is Metric.merge and leaf.dtype == jnp.int32


def _counts(metric: Metric) -> list[Any]:
    return [leaf for leaf in jax.tree.leaves(metric) if _is_count(metric, leaf)]


@struct.dataclass
class Sums:
    """Sums of metrics on the device.

    Args:
      metrics: the sums; for counts the low words.
      high: high words of the counts of each metric, by name.
    """

    metrics: Metrics
    high: dict[str, list[jax.Array]]

    @classmethod
    def empty(cls, metrics: Metrics) -> Self:
        """Create empty sums.

        Args:
          metrics: metrics of one step, for their shapes.

        Returns:
          The empty sums.
        """
        for name, metric in metrics.items() if isinstance(metrics, dict) else [("", metrics)]:
            if not isinstance(metric, Metric):
                is_array = isinstance(metric, jax.Array | jax.ShapeDtypeStruct)
                what = f"an array {list(metric.shape)}" if is_array else f"a {type(metric).__name__}"
                allowed = "{name: Sum.of(values, mask), Max(value) or Last(value)}"
                raise ValueError(f"metrics{[name] if name else ''}: {what}, no Metric; allowed: {allowed}")
        return cls(
            {name: metric.empty() for name, metric in metrics.items()},
            {name: [jnp.zeros(x.shape, jnp.int32) for x in _counts(metric)] for name, metric in metrics.items()},
        )

    def add(self, metrics: Metrics) -> Self:
        """Add the metrics of a step, under jit.

        Args:
          metrics: metrics of the step.

        Returns:
          The new sums.
        """
        total = merge(self.metrics, metrics)

        def word(high: jax.Array, low: jax.Array, step: jax.Array) -> jax.Array:
            return high + (step >> 31) + (low.astype(jnp.uint32) < step.astype(jnp.uint32))

        high = {
            name: jax.tree.map(word, self.high[name], _counts(total[name]), _counts(metrics[name])) for name in total
        }
        return type(self)(total, high)

    def on_host(self) -> Metrics:
        """Fetch the sums; waits for the device.

        Returns:
          The metrics in int64 and float64.
        """
        fetched = jax.device_get(self)

        def join_words(metric: Metric, words: list[np.ndarray]) -> Metric:
            high = iter(words)

            def join(leaf: np.ndarray) -> np.ndarray:
                return (next(high).astype(np.int64) << 32) + leaf.view(np.uint32)

            return jax.tree.map(lambda leaf: join(leaf) if _is_count(metric, leaf) else leaf, metric)

        return fold(None, {name: join_words(metric, fetched.high[name]) for name, metric in fetched.metrics.items()})
