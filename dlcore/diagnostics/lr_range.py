"""The learning-rate range test: one short run whose rate rises step by step, and what its loss says.

Smith, "Cyclical learning rates for training neural networks" (2017), arXiv:1506.01186, section 3.3.

    rate_t = low (high / low)^(t / (T - 1))        t = 0, ..., T - 1

The loss first stays, then falls, then rises: good rates lie where it falls. The rate rises by equal factors, where
Smith's rises by equal steps, since the useful range is not known within a decade. Losses are read in windows, their
means and their slopes by least squares over log rate, so that all parts of the curve are equally smooth.
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


def read_range_test(rates: np.ndarray, losses: np.ndarray, window: int | None = None, blown: float = 4.0) -> RangeTest:
    """What the rates [T], by equal factors, and losses [T] of a range test say; window: a tenth, at least 3 points.

    Raises:
      ValueError: the shapes differ, the window is not in [3, T], or its first losses are not finite.
    """
    rates, losses = np.asarray(rates, np.float64), np.asarray(losses, np.float64)
    window = max(3, len(losses) // 10) if window is None else window
    if rates.shape != losses.shape or rates.ndim != 1:
        raise ValueError(f"rates {rates.shape} and losses {losses.shape} must both be [T]")
    if not 3 <= window <= len(losses) or not np.isfinite(losses[:window]).all():
        raise ValueError(f"window={window} must be in [3, {len(losses)}], and the losses of the first one finite")
    windows = np.lib.stride_tricks.sliding_window_view(losses, window)
    with np.errstate(invalid="ignore", over="ignore"):
        level, slope = windows.mean(-1), windows @ (np.arange(window) - (window - 1) / 2)
        gone = ~np.isfinite(level) | ~(level <= blown * np.fmin.accumulate(level))
    end = int(gone.argmax()) if gone.any() else len(level)
    lowest, centre = int(level[:end].argmin()), window // 2
    steepest = int(slope[: lowest + 1].argmin())
    diverges = float(rates[end + window - 1]) if end < len(level) else None
    return RangeTest(float(rates[steepest + centre]), float(rates[lowest + centre]), diverges)
