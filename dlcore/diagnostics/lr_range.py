"""The learning-rate range test: one short run with a rising learning rate, and how to read its loss.

Smith, "Cyclical learning rates for training neural networks" (2017), arXiv:1506.01186, section 3.3.

    rate_t = low (high / low)^(t / (T - 1))        t = 0, ..., T - 1

The loss first stays constant, then falls, then rises: good learning rates lie where it falls. The rate rises by equal
factors, not by equal steps as Smith's, since the useful range may be off by a decade. Losses are smoothed in windows:
means, and least-squares slopes over the log rate.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.choices import check_whole_number
from dlcore.ops.checks import check_finite, check_shapes

__all__ = ["RangeTest", "lr_range_test", "read_range_test"]


class RangeTest(NamedTuple):
    """Learning rates from a range test.

    Args:
      steepest: rate with the steepest fall of the loss over the log rate; a good initial rate.
      lowest: rate with the lowest loss.
      diverges: where the loss first is not finite or above `blown` times its lowest value so far; None where it never
        was: then test up to a higher rate.
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
    """Train one step per batch while the learning rate rises from `low` to `high` by equal factors.

    Args:
      loss: (params, batch) -> scalar.
      params: parameters at the start; they are not changed.
      batches: a pytree with leaves [T, ...], T at least 2, one batch per step.
      low: first learning rate.
      high: last learning rate.
      optimizer: learning-rate schedule -> transformation, such as `optax.adam`.

    Returns:
      (rates [T], losses [T], each before its step).
    """
    lengths = [len(leaf) if jnp.ndim(leaf) else 0 for leaf in jax.tree.leaves(batches)]
    if len(set(lengths)) != 1:
        raise ValueError(f"batches: leaves of {lengths} steps; allowed: [T, ...] with one T for all")
    steps = lengths[0]
    check_finite("high", high)
    if not callable(optimizer):
        raise ValueError(
            f"optimizer={type(optimizer).__name__}: no function of a schedule; allowed: such as optax.adam"
        )
    if not 0 < low < high:
        raise ValueError(f"low={low}: no range up to high={high}; allowed: 0 < low < high")
    if steps < 2:
        raise ValueError(f"batches={steps} steps: too few; allowed: at least 2")
    rates = low * (high / low) ** (jnp.arange(steps) / (steps - 1))
    transformation = optimizer(lambda t: rates[t])

    def step(carry, batch):
        params, state = carry
        value, gradient = jax.value_and_grad(loss)(params, batch)
        updates, state = transformation.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), value

    return rates, jax.lax.scan(step, (params, transformation.init(params)), batches)[1]


def read_range_test(rates: np.ndarray, losses: np.ndarray, window: int | None = None, blown: float = 4.0) -> RangeTest:
    """Find good and bad learning rates in a range test, by means and slopes in windows of steps.

    Args:
      rates: [T], rising by equal factors.
      losses: [T].
      window: steps in a window, in [3, T]; None for T / 10, at least 3.
      blown: multiple of the lowest loss so far above which a loss has diverged.

    Returns:
      The learning rates.
    """
    rates, losses = np.asarray(rates, np.float64), np.asarray(losses, np.float64)
    window = max(3, len(losses) // 10) if window is None else window
    if rates.shape != losses.shape or rates.ndim != 1:
        raise ValueError(f"losses={losses.shape}: wrong shape beside rates {rates.shape}; allowed: both [T]")
    check_whole_number("window", window)
    check_shapes(blown=(blown, ">= 1"), rates=(rates, "... > 0"))
    if not (np.diff(rates) > 0).all():
        raise ValueError("rates: do not rise; allowed: rising by equal factors")
    if not 3 <= window <= len(losses) or not np.isfinite(losses[:window]).all():
        raise ValueError(
            f"window={window}: unusable; allowed: 3 to {len(losses)}, the losses of the first window being finite"
        )
    windows = np.lib.stride_tricks.sliding_window_view(losses, window)
    with np.errstate(invalid="ignore", over="ignore"):
        level, slope = windows.mean(-1), windows @ (np.arange(window) - (window - 1) / 2)
        diverged = ~np.isfinite(level) | ~(level <= blown * np.fmin.accumulate(level))
    end = int(diverged.argmax()) if diverged.any() else len(level)
    lowest, center = int(level[:end].argmin()), window // 2
    steepest = int(slope[: lowest + 1].argmin())
    diverges = float(rates[end + window - 1]) if end < len(level) else None
    return RangeTest(float(rates[steepest + center]), float(rates[lowest + center]), diverges)
