"""Time functions in shuffled turns, so that a busy machine slows all of them, and compare their medians.

times = interleaved({"ours": f, "torch": g}, num_repeats=5)
ratio(times, "torch", "ours").median        above one: ours is faster
"""

import math
import os
import random
import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

import jax

from dlcore.report.figure import PALETTE, new_figure

__all__ = ["Ratio", "Times", "advancing", "bar_chart", "interleaved", "ratio", "torch_on_all_cores"]


class Times(NamedTuple):
    """Seconds of one function.

    Args:
      wall: seconds on the clock, one for each turn.
      cpu: processor seconds of all cores in each turn; other programs hardly change them.
    """

    wall: list[float]
    cpu: list[float]

    @property
    def median(self) -> float:
        """The median of the wall seconds."""
        return statistics.median(self.wall)


class Ratio(NamedTuple):
    """How many times as long one function takes as another.

    Args:
      median: the ratio of the medians of wall seconds.
      low: the smallest ratio within one turn.
      high: the largest ratio within one turn.
      cpu: the ratio of the medians of processor seconds.
    """

    median: float
    low: float
    high: float
    cpu: float

    def rows(self, name: str) -> dict[str, Any]:
        """Two rows of a study's numbers.

        Args:
          name: what is compared, such as "flax over ours".

        Returns:
          The median, and what varies around it.
        """
        return {name: self.median, f"{name}: low, high, processor time": [self.low, self.high, self.cpu]}


def interleaved(
    functions: dict[str, Callable[[], Any]],
    num_repeats: int,
    *,
    steps: int = 1,
    least_seconds: float = 0.0,
    cpu_clock: Callable[[], float] = time.process_time,
) -> dict[str, Times]:
    """Time every function in shuffled turns, after two warm calls each.

    Args:
      functions: name -> function without arguments; what it returns is waited for.
      num_repeats: turns of each function.
      steps: how many steps one call does; times are those of one step.
      least_seconds: a short function is called until a turn lasts so long, after one more warm call in each turn,
        as the previous function's threads and caches are not its own; 0 calls it once a turn.
      cpu_clock: processor seconds so far.

    Returns:
      name -> seconds a step, one for each turn.

    Raises:
      ValueError: `num_repeats` is not positive.
    """
    if num_repeats < 1:
        raise ValueError(f"num_repeats={num_repeats}: too small; allowed: at least 1")
    calls = {}
    for name, function in functions.items():
        jax.block_until_ready(function())
        start = time.perf_counter()
        jax.block_until_ready(function())
        calls[name] = max(1, math.ceil(least_seconds / (time.perf_counter() - start)))
    times, shuffle = {name: Times([], []) for name in functions}, random.Random(0)
    for _ in range(num_repeats):
        for name, function in shuffle.sample(list(functions.items()), len(functions)):
            if least_seconds:
                jax.block_until_ready(function())
            wall, cpu = time.perf_counter(), cpu_clock()
            for _ in range(calls[name]):
                jax.block_until_ready(function())
            times[name].wall.append((time.perf_counter() - wall) / steps / calls[name])
            times[name].cpu.append((cpu_clock() - cpu) / steps / calls[name])
    return times


def advancing(step: Callable[[Any], tuple[Any, Any]], state: Any) -> Callable[[], Any]:
    """A call that takes `step(state) -> (state, output)` from where the call before ended, and returns the output."""

    def run() -> Any:
        nonlocal state
        state, output = step(state)
        return output

    return run


def torch_on_all_cores() -> bool:
    """Return whether torch is installed, and let it use every core of this process."""
    if find_spec("torch") is None:
        return False
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    return True


def ratio(times: dict[str, Times], above: str, below: str) -> Ratio:
    """Compare two functions that were timed in the same turns.

    Args:
      times: times of `interleaved`.
      above: the name of the numerator.
      below: the name of the denominator.

    Returns:
      Seconds of `above` over seconds of `below`.
    """
    turns = [a / b for a, b in zip(times[above].wall, times[below].wall, strict=True)]
    cpu = statistics.median(times[above].cpu) / max(statistics.median(times[below].cpu), 1e-12)
    return Ratio(times[above].median / times[below].median, min(turns), max(turns), cpu)


def bar_chart(
    groups: dict[str, dict[str, float]], xlabel: str, reference: float | None = 1.0, log: bool = False
) -> Any:
    """Draw a horizontal bar for each value, side by side within a group.

    Args:
      groups: group -> label -> value.
      xlabel: what the values are.
      reference: where a line marks the value to beat; None draws none.
      log: draw on a logarithmic scale.

    Returns:
      A matplotlib Figure.
    """
    labels = list(dict.fromkeys(label for values in groups.values() for label in values))
    height = 0.8 / max(1, len(labels))
    figure, axes = new_figure((7.0, 1.2 + 0.28 * len(groups) * len(labels)))
    for i, label in enumerate(labels):
        rows = [(row, values[label]) for row, values in enumerate(groups.values()) if label in values]
        heights = [row + (i - (len(labels) - 1) / 2) * height for row, _ in rows]
        bars = axes.barh(heights, [value for _, value in rows], height, color=PALETTE[i % len(PALETTE)], label=label)
        axes.bar_label(bars, fmt="%.3g", padding=3, fontsize=8)
    if reference is not None:
        axes.axvline(reference, color="0.3", lw=1, ls="--")
    axes.set_yticks(range(len(groups)), list(groups))
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set(xlabel=xlabel, xscale="log" if log else "linear")
    if len(labels) > 1:
        axes.legend(frameon=False, fontsize=8)
    return figure
