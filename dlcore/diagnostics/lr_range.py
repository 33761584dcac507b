"""The learning-rate range test: one short run whose rate rises step by step, and what its loss says.

Smith, "Cyclical learning rates for training neural networks" (2017), arXiv:1506.01186, section 3.3.

    rate_t = low (high / low)^(t / (T - 1))        t = 0, ..., T - 1

The loss first stays, then falls, then rises: good rates lie where it falls. The rate rises by equal factors, where
Smith's rises by equal steps, since the useful range is not known within a decade. Losses are read after smoothing by an
exponential mean that is corrected for its start.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

__all__ = ["RangeTest", "lr_range_test", "read_range_test"]


class RangeTest(NamedTuple):
    """Rates read off a range test.

    steepest: where the loss falls fastest by the logarithm of the rate, a rate to start with. lowest: where it was
    lowest. diverges: where it first is not finite or above `blown` times its lowest value so far; None where it never
    was, and `high` should be higher.
    """

    steepest: float
    lowest: float
    diverges: float | None


def lr_range_test(
    loss: Callable[[Any, Any], jax.Array],
    params: Any,
    batches: Any,
    low: float = 1e-6,
    high: float = 10.0,
    optimizer: Callable[[optax.Schedule], optax.GradientTransformation] = optax.sgd,
) -> tuple[jax.Array, jax.Array]:
    """(rates [T], losses [T] before each step). loss: (params, batch) -> scalar. batches: leaves [T, ...].

    optimizer: rate or schedule -> transformation, such as `optax.adam`. The parameters are left as they are.

    Raises:
      ValueError: not 0 < low < high, or there are fewer than two batches.
    """
    steps = len(jax.tree.leaves(batches)[0])
    if not 0 < low < high:
        raise ValueError(f"low={low} and high={high} must be positive, low the smaller")
    if steps < 2:
        raise ValueError(f"batches has {steps} steps; it must have at least 2")
    rates = low * (high / low) ** (jnp.arange(steps) / (steps - 1))
    transformation = optimizer(lambda t: rates[t])

    def step(carry, batch):
        params, state = carry
        value, gradient = jax.value_and_grad(loss)(params, batch)
        updates, state = transformation.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), value

    return rates, jax.lax.scan(step, (params, transformation.init(params)), batches)[1]


def read_range_test(rates: np.ndarray, losses: np.ndarray, smoothing: float = 0.9, blown: float = 4.0) -> RangeTest:
    """What the rates [T] and losses [T] of a range test say. smoothing: the share that the mean keeps, in [0, 1).

    Raises:
      ValueError: the shapes differ, the first loss is not finite, or smoothing is not in [0, 1).
    """
    rates, losses = np.asarray(rates, np.float64), np.asarray(losses, np.float64)
    if rates.shape != losses.shape or rates.ndim != 1 or not len(rates) or not np.isfinite(losses[0]):
        raise ValueError(f"rates {rates.shape} and losses {losses.shape} must both be [T] and start finite")
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing={smoothing} must be in [0, 1)")
    kept = smoothing ** np.arange(1, len(losses) + 1)
    mean, smooth = 0.0, np.empty(len(losses))
    for t, value in enumerate(losses):
        mean = smoothing * mean + (1 - smoothing) * value
        smooth[t] = mean / (1 - kept[t])
    gone = ~np.isfinite(losses) | ~(smooth <= blown * np.fmin.accumulate(smooth))
    end = int(gone.argmax()) if gone.any() else len(losses)
    lowest = int(smooth[:end].argmin())
    slope = np.gradient(smooth[: lowest + 1], np.log(rates[: lowest + 1])) if lowest else np.zeros(1)
    diverges = float(rates[end]) if end < len(rates) else None
    return RangeTest(float(rates[slope.argmin()]), float(rates[lowest]), diverges)
