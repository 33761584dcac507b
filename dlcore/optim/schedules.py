"""Learning rates over time: each schedule is a function of the step, as optax's are, with the equation it computes.

Step, exponential, cosine, linear and polynomial decay; SGDR (Loshchilov & Hutter 2017, arXiv:1608.03983), cyclic rates
(Smith 2017, arXiv:1506.01186), one cycle (Smith & Topin 2018, arXiv:1708.07120), the linear scaling rule (Goyal et al.
2017, arXiv:1706.02677).

Steps t count from 0, updates or epochs as the caller likes. Plain cosine only falls; what falls and rises again is
`cosine_restarts`. Compositions are optax's: `optax.join_schedules([linear(0, peak, 5000), decay], [5000])` warms up; it
asks the later schedule for steps below 0 too and takes nothing from them, so every schedule is finite there.
The rates are those of torch's schedulers; where optax's of the same name differ, the docstring says how.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

__all__ = [
    "Plateau", "PlateauState", "batch_ramp", "constant", "cosine", "cosine_restarts", "cyclic", "exponential",
    "inverse_sqrt", "inverse_time", "linear", "linear_scaling", "multi_step", "one_cycle", "polynomial", "step_decay",
    "warm_up",
]  # fmt: skip


def constant(rate: float) -> optax.Schedule:
    """a: to start with, until the loss curve shows where a decay is needed."""
    return optax.constant_schedule(rate)


def step_decay(rate: float, step_size: int, gamma: float = 0.1) -> optax.Schedule:
    """a γ^floor(t / step_size)."""
    _positive("step_size", step_size)
    return lambda t: rate * gamma ** (t // step_size)


def multi_step(rate: float, milestones: Sequence[int], gamma: float = 0.1) -> optax.Schedule:
    """a γ^(number of milestones <= t)."""
    marks = tuple(milestones)
    return lambda t: rate * gamma ** sum((jnp.asarray(t) >= mark).astype(jnp.int32) for mark in marks)


def exponential(rate: float, k: float) -> optax.Schedule:
    """a e^(-k t); torch's gamma is e^-k."""
    return lambda t: rate * jnp.exp(-k * jnp.maximum(t, 0))


def cosine(rate: float, steps: int, end: float = 0.0, hold: bool = True) -> optax.Schedule:
    """end + (a - end) (1 + cos(π t / T)) / 2; stays at the end from T on, or without `hold` rises again as torch's."""
    _positive("steps", steps)

    def schedule(t):
        t = jnp.minimum(t, steps) if hold else t
        return end + (rate - end) * (1 + jnp.cos(jnp.pi * t / steps)) / 2

    return schedule


def cosine_restarts(rate: float, first: int, factor: int = 1, end: float = 0.0) -> optax.Schedule:
    """A cosine over `first` steps, then again over `factor` times as many, and so on (SGDR).

    Raises:
      ValueError: first or factor is below 1.
    """
    _positive("first", first)
    if factor < 1:
        raise ValueError(f"factor={factor} must be at least 1")

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
    """start + (end - start) t / T, then the end: a decay to 0 or a warm-up from 0."""
    _positive("steps", steps)
    return lambda t: start + (end - start) * jnp.minimum(t, steps) / steps


def polynomial(rate: float, steps: int, power: float = 2.0) -> optax.Schedule:
    """a (1 - t / T)^p, then 0."""
    _positive("steps", steps)
    return lambda t: rate * (1 - jnp.minimum(t, steps) / steps) ** power


def inverse_sqrt(rate: float) -> optax.Schedule:
    """a / sqrt(t); a at t = 0 too."""
    return lambda t: rate / jnp.sqrt(jnp.maximum(t, 1))


def inverse_time(rate: float, k: float) -> optax.Schedule:
    """a / (1 + k t)."""
    return lambda t: rate / (1 + k * jnp.maximum(t, 0))


def warm_up(decay: optax.Schedule, steps: int, peak: float | None = None) -> optax.Schedule:
    """From 0 in equal steps to the peak (`decay(0)` by default) over the first `steps`, then `decay` from its start."""
    _positive("steps", steps)
    return optax.join_schedules([linear(0.0, decay(0) if peak is None else peak, steps), decay], [steps])


def cyclic(
    low: float, high: float, up: int, down: int | None = None, mode: str = "triangular", gamma: float = 1.0
) -> optax.Schedule:
    """Up from low to high in `up` steps, down again in `down` (as many by default), and so on.

    The height high - low is halved with every cycle by mode "triangular2", and scaled by gamma^t by "exp_range".
    """
    down = up if down is None else down
    _positive("up", up)
    _positive("down", down)
    if mode not in ("triangular", "triangular2", "exp_range"):
        raise ValueError(f"mode={mode!r} is unknown; allowed are triangular, triangular2, exp_range")

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
    """From peak / div to the peak over the share `rise` of the steps, then down to peak / div / final_div.

    With `three_phases` it comes down to peak / div in as many steps as it rose, and to the end in the rest. The last
    rate is that of step T - 1, as in torch; optax's reaches it at T and rounds the phases to whole steps.
    """
    if steps < 2:
        raise ValueError(f"steps={steps} must be at least 2")
    if anneal not in ("cosine", "linear"):
        raise ValueError(f"anneal={anneal!r} is unknown; allowed are cosine, linear")
    start = peak / div
    top = rise * steps - 1
    if three_phases:
        marks, rates = (0.0, top, 2 * top, steps - 1), (start, peak, start, start / final_div)
    else:
        marks, rates = (0.0, top, steps - 1), (start, peak, start / final_div)
    if any(b <= a for a, b in itertools.pairwise(marks)):
        raise ValueError(f"rise={rise} of steps={steps} leaves a phase without a step")

    def schedule(t):
        rate = rates[0]
        for a, b, low, high in zip(marks, marks[1:], rates, rates[1:], strict=False):
            share = jnp.clip((t - a) / (b - a), 0, 1)
            if anneal == "cosine":
                share = (1 - jnp.cos(jnp.pi * share)) / 2
            rate = jnp.where(t > a, low + (high - low) * share, rate)
        return rate

    return schedule


def linear_scaling(rate: float, batch_size: int, base_batch_size: int = 256) -> float:
    """rate * batch_size / base_batch_size: N times the batch, N times the rate."""
    _positive("batch_size", batch_size)
    _positive("base_batch_size", base_batch_size)
    return rate * batch_size / base_batch_size


def batch_ramp(rate: float, batch_sizes: Sequence[int], steps: Sequence[int]) -> list[tuple[int, int, float]]:
    """(steps, batch size, rate) of each phase of a ramp: the batch grows and the rate with it, as `linear_scaling`.

    rate: of the first batch size. A batch's shape is static under jit, so each phase is a run of its own (a call of
    `dlcore.run.fit`, or `accumulate` in proportion).
    """
    if len(batch_sizes) != len(steps) or not batch_sizes:
        raise ValueError(f"batch_sizes={list(batch_sizes)} and steps={list(steps)} must be equally many, at least one")
    return [(n, size, linear_scaling(rate, size, batch_sizes[0])) for n, size in zip(steps, batch_sizes, strict=True)]


class PlateauState(NamedTuple):
    """rate, best: [] floats. bad, cooling: [] int32 measurements without progress, and yet to be left out."""

    rate: jax.Array
    best: jax.Array
    bad: jax.Array
    cooling: jax.Array


class Plateau(NamedTuple):
    """The rate is multiplied by `factor` once a measure has been no better for more than `patience` measurements.

    Better means less than best (1 - threshold), or with maximise more than best (1 + threshold); with `absolute` less
    than best - threshold, more than best + threshold. As torch's ReduceLROnPlateau; `optax.contrib.reduce_on_plateau`
    is the same inside an optimiser, with patience one higher.
    """

    rate: float
    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    cooldown: int = 0
    min_rate: float = 0.0
    maximise: bool = False
    absolute: bool = False

    def init(self) -> PlateauState:
        """The state before any measurement."""
        worst = jnp.asarray(-jnp.inf if self.maximise else jnp.inf)
        return PlateauState(jnp.asarray(float(self.rate)), worst, jnp.int32(0), jnp.int32(0))

    def update(self, state: PlateauState, value: float) -> PlateauState:
        """The state after a measurement; `state.rate` is the rate from now on."""
        sign = 1 if self.maximise else -1
        mark = state.best + sign * self.threshold if self.absolute else state.best * (1 + sign * self.threshold)
        better = sign * value > sign * mark
        bad = jnp.where(better, 0, state.bad + 1)
        bad = jnp.where(state.cooling > 0, 0, bad)
        cooling = jnp.maximum(state.cooling - 1, 0)
        reduce = bad > self.patience
        return PlateauState(
            jnp.where(reduce, jnp.maximum(state.rate * self.factor, self.min_rate), state.rate),
            jnp.where(better, value, state.best),
            jnp.where(reduce, 0, bad),
            jnp.where(reduce, self.cooldown, cooling),
        )


def _positive(name: str, value: float) -> None:
    if isinstance(value, int | float) and value <= 0:
        raise ValueError(f"{name}={value} must be positive")
