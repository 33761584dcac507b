"""Learning rates over time: each schedule is a function of the step, as optax's are, with the equation it computes.

Step, exponential, cosine, linear and polynomial decay; SGDR (Loshchilov & Hutter 2017, arXiv:1608.03983), cyclic rates
(Smith 2017, arXiv:1506.01186), one cycle (Smith & Topin 2018, arXiv:1708.07120), the linear scaling rule (Goyal et al.
2017, arXiv:1706.02677).

Steps t count from 0, in updates or epochs as the caller likes. Plain cosine only falls; `cosine_restarts` rises again.
Compositions are optax's: `optax.join_schedules([linear(0, peak, 5000), decay], [5000])` warms up; it evaluates the
later schedule at steps below 0 too and discards the result, so every schedule is finite there. The rates are those of
torch's schedulers; where optax's of the same name differ, the docstring says how.
"""

import itertools
import math
from collections.abc import Sequence
from numbers import Real

import jax.numpy as jnp
import numpy as np
import optax

from dlcore.choices import check_choice, check_whole_number
from dlcore.ops.checks import check_shapes
from dlcore.optim._rules import check_at_least_0
from dlcore.optim.plateau import Plateau, PlateauState

__all__ = [
    "Plateau",
    "PlateauState",
    "batch_ramp",
    "constant",
    "cosine",
    "cosine_restarts",
    "cyclic",
    "exponential",
    "inverse_sqrt",
    "inverse_time",
    "linear",
    "linear_scaling",
    "multi_step",
    "one_cycle",
    "polynomial",
    "step_decay",
    "warm_up",
]


def constant(rate: float) -> optax.Schedule:
    """Constant rate a: the one to start with, until the loss curve shows where a decay is needed.

    Args:
      rate: learning rate a.

    Returns:
      The schedule, a function of step t.
    """
    check_at_least_0(rate=rate)
    return optax.constant_schedule(rate)


def step_decay(rate: float, step_size: int, gamma: float = 0.1) -> optax.Schedule:
    """Step decay, a γ^floor(t / step_size).

    Args:
      rate: learning rate a at step 0.
      step_size: steps from one decay to the next, above 0.
      gamma: factor γ of each decay.

    Returns:
      The schedule, a function of step t.
    """
    check_at_least_0(rate=rate, gamma=gamma)
    _positive("step_size", step_size)
    return lambda t: rate * gamma ** (t // step_size)


def multi_step(rate: float, milestones: Sequence[int], gamma: float = 0.1) -> optax.Schedule:
    """Multi-step decay, a γ^(number of milestones <= t).

    Args:
      rate: learning rate a at step 0.
      milestones: steps of the decays.
      gamma: factor γ of each decay.

    Returns:
      The schedule, a function of step t.
    """
    check_at_least_0(rate=rate, gamma=gamma)
    check_shapes(milestones=(milestones, "N"))
    if list(milestones) != sorted(milestones) or not all(map(math.isfinite, milestones)):
        raise ValueError(f"milestones={tuple(milestones)}: not in order; allowed: rising steps")
    marks = tuple(milestones)
    return lambda t: rate * gamma ** sum((jnp.asarray(t) >= mark).astype(jnp.int32) for mark in marks)


def exponential(rate: float, k: float) -> optax.Schedule:
    """Exponential decay, a e^(-k t); torch's gamma is e^-k.

    Args:
      rate: learning rate a at step 0.
      k: decay a step.

    Returns:
      The schedule, a function of step t.
    """
    check_at_least_0(rate=rate, k=k)
    return lambda t: rate * jnp.exp(-k * jnp.maximum(t, 0))


def cosine(rate: float, steps: int, end: float = 0.0, hold: bool = True) -> optax.Schedule:
    """Cosine decay, end + (a - end) (1 + cos(π t / T)) / 2.

    Args:
      rate: learning rate a at step 0.
      steps: length T of the decay, above 0.
      end: learning rate at T.
      hold: stay at `end` from T on; otherwise rise again, as torch's.

    Returns:
      The schedule, a function of step t.
    """
    check_at_least_0(rate=rate, end=end)
    _positive("steps", steps)

    def schedule(t):
        t = jnp.minimum(t, steps) if hold else t
        return end + (rate - end) * (1 + jnp.cos(jnp.pi * t / steps)) / 2

    return schedule


def cosine_restarts(rate: float, first: int, factor: int = 1, end: float = 0.0) -> optax.Schedule:
    """Cosine decay with warm restarts (SGDR): over `first` steps, then over `factor` times as many, and so on.

    Args:
      rate: learning rate a at step 0.
      first: length of the first cosine, above 0.
      factor: length of each cosine over the one before, at least 1.
      end: learning rate at the end of each cosine.

    Returns:
      The schedule, a function of step t.
    """
    check_at_least_0(rate=rate, end=end)
    check_whole_number("first", first, 1)
    check_whole_number("factor", factor, 1)

    starts = [0]
    while factor > 1 and factor * starts[-1] + first < 2**31:
        starts.append(factor * starts[-1] + first)
    lengths = np.array([first * float(factor) ** n for n in range(len(starts))])

    def schedule(t):
        t = jnp.maximum(t, 0)
        n = sum((t >= start).astype(jnp.int32) for start in starts[1:])
        inside = t % first if factor == 1 else t - jnp.asarray(starts, jnp.int32)[n]
        return end + (rate - end) * (1 + jnp.cos(jnp.pi * inside / jnp.asarray(lengths)[n])) / 2

    return schedule


def linear(start: float, end: float, steps: int) -> optax.Schedule:
    """Linear schedule, start + (end - start) t / T, then the end: a decay to 0 or a warm-up from 0.

    Args:
      start: learning rate at step 0.
      end: learning rate from T on.
      steps: T, above 0.

    Returns:
      The schedule, a function of step t.
    """
    check_at_least_0(start=start, end=end)
    _positive("steps", steps)
    return lambda t: start + (end - start) * jnp.minimum(t, steps) / steps


def polynomial(rate: float, steps: int, power: float = 2.0) -> optax.Schedule:
    """Polynomial decay, a (1 - t / T)^p, then 0.

    Args:
      rate: learning rate a at step 0.
      steps: length T of the decay, above 0.
      power: exponent p.

    Returns:
      The schedule, a function of step t.
    """
    check_at_least_0(rate=rate, power=power)
    _positive("steps", steps)
    return lambda t: rate * ((steps - jnp.minimum(t, steps)) / steps) ** power


def inverse_sqrt(rate: float) -> optax.Schedule:
    """Inverse square root decay, a / sqrt(t); a at t = 0 too.

    Args:
      rate: learning rate a at steps 0 and 1.

    Returns:
      The schedule, a function of step t.
    """
    check_at_least_0(rate=rate)
    return lambda t: rate / jnp.sqrt(jnp.maximum(t, 1))


def inverse_time(rate: float, k: float) -> optax.Schedule:
    """Inverse time decay, a / (1 + k t).

    Args:
      rate: learning rate a at step 0.
      k: decay a step.

    Returns:
      The schedule, a function of step t.
    """
    check_at_least_0(rate=rate, k=k)
    return lambda t: rate / (1 + k * jnp.maximum(t, 0))


def warm_up(decay: optax.Schedule, steps: int, peak: float | None = None) -> optax.Schedule:
    """Linear warm-up from 0 to the peak, then `decay` from its start.

    Args:
      decay: schedule after the warm-up.
      steps: steps of the warm-up, above 0.
      peak: learning rate at its end; None for `decay(0)`.

    Returns:
      The schedule, a function of step t.
    """
    _positive("steps", steps)
    return optax.join_schedules([linear(0.0, decay(0) if peak is None else peak, steps), decay], [steps])


def cyclic(
    low: float, high: float, up: int, down: int | None = None, mode: str = "triangular", gamma: float = 1.0
) -> optax.Schedule:
    """Cyclic rate: up from low to high, down again, and so on.

    Args:
      low: rate at which a cycle begins and ends.
      high: rate in the middle of the first cycle; below `low` for a momentum that falls where the rate rises.
      up: steps upward, above 0.
      down: steps downward; None for as many as upward.
      mode: height high - low of the cycles: "triangular" is constant, "triangular2" halves with every cycle,
        "exp_range" scales by gamma^t.
      gamma: factor a step in mode "exp_range".

    Returns:
      The schedule, a function of step t.
    """
    check_at_least_0(low=low, high=high, gamma=gamma)
    down = up if down is None else down
    _positive("up", up)
    _positive("down", down)
    check_choice("mode", mode, ("triangular", "triangular2", "exp_range"))

    def schedule(t):
        cycle, inside = t // (up + down), t % (up + down)
        height = jnp.where(inside <= up, inside / up, (up + down - inside) / down)
        scale = {"triangular": 1.0, "triangular2": 0.5**cycle, "exp_range": gamma**t}[mode]
        return low + (high - low) * height * scale

    return schedule


def one_cycle(
    peak: float,
    steps: int,
    rise: float = 0.3,
    anneal: str = "cosine",
    three_phases: bool = False,
    div: float = 25.0,
    final_div: float = 1e4,
) -> optax.Schedule:
    """One cycle: from peak / div up to the peak, then down to peak / div / final_div.

    The last rate is that of step T - 1, as in torch; optax's reaches it at T and rounds the phases to whole steps.

    Args:
      peak: greatest learning rate.
      steps: length T of the cycle, at least 2.
      rise: share of the steps that goes up.
      anneal: shape of each phase, "cosine" or "linear".
      three_phases: come down to peak / div in as many steps as it rose, and to the end in the rest.
      div: the peak over the first rate.
      final_div: the first rate over the last.

    Returns:
      The schedule, a function of step t.
    """
    check_at_least_0(peak=peak)
    _positive("div", div)
    _positive("final_div", final_div)
    if not 2 <= steps < math.inf:
        raise ValueError(f"steps={steps}: out of range; allowed: 2 or more")
    check_choice("anneal", anneal, ("cosine", "linear"))
    start = peak / div
    top = rise * steps - 1
    if three_phases:
        marks, rates = (0.0, top, 2 * top, steps - 1), (start, peak, start, start / final_div)
    else:
        marks, rates = (0.0, top, steps - 1), (start, peak, start / final_div)
    if not all(a < b for a, b in itertools.pairwise(marks)):
        raise ValueError(f"rise={rise}: leaves a phase of steps={steps} without a step; allowed: less extreme shares")

    def schedule(t):
        rate = rates[0]
        for (a, b), (low, high) in zip(itertools.pairwise(marks), itertools.pairwise(rates), strict=True):
            fraction = jnp.clip((t - a) / (b - a), 0, 1)
            if anneal == "cosine":
                fraction = (1 - jnp.cos(jnp.pi * fraction)) / 2
            rate = jnp.where(t > a, low + (high - low) * fraction, rate)
        return rate

    return schedule


def linear_scaling(rate: float, batch_size: int, base_batch_size: int = 256) -> float:
    """Linear scaling rule, rate * batch_size / base_batch_size: N times the batch, N times the rate.

    Args:
      rate: learning rate for the base batch size.
      batch_size: examples in a batch, above 0.
      base_batch_size: batch size that `rate` was tuned for, above 0.

    Returns:
      The learning rate for `batch_size`.
    """
    check_at_least_0(rate=rate)
    for name, size in (("batch_size", batch_size), ("base_batch_size", base_batch_size)):
        _positive(name, size)
        check_whole_number(name, size)
    return rate * batch_size / base_batch_size


def batch_ramp(rate: float, batch_sizes: Sequence[int], steps: Sequence[int]) -> list[tuple[int, int, float]]:
    """Phases of a ramp: the batch grows and the rate with it, as in `linear_scaling`.

    A batch's shape is static under jit, so each phase is a run of its own (a call of `dlcore.run.fit`, or `accumulate`
    in proportion).

    Args:
      rate: learning rate of the first batch size.
      batch_sizes: batch size of each phase.
      steps: steps of each phase.

    Returns:
      [(steps, batch size, rate)], one a phase.
    """
    if len(batch_sizes) != len(steps) or not batch_sizes:
        raise ValueError(
            f"batch_sizes={list(batch_sizes)}: empty or unlike steps={list(steps)}; allowed: as many, at least one"
        )
    for name, numbers in (("batch_sizes", batch_sizes), ("steps", steps)):
        for number in numbers:
            check_whole_number(name, number, 1)
    return [(n, size, linear_scaling(rate, size, batch_sizes[0])) for n, size in zip(steps, batch_sizes, strict=True)]


def _positive(name: str, value: float) -> None:
    if value is None or isinstance(value, str) or (isinstance(value, Real) and not 0 < value < math.inf):
        raise ValueError(f"{name}={value}: out of range; allowed: above 0, finite")
