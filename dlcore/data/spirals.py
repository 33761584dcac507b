"""Trajectories that spiral into the origin, and segments of them.

As in the examples of Chen et al. 2018, arXiv:1806.07366: dy/dt = A y with A = [[-0.1, -2], [2, -0.1]], whose solution
rotates by 2 t and shrinks by e^(-t / 10).
"""

import dataclasses
from typing import Annotated, ClassVar, Literal

import numpy as np

from dlcore.data.source import Source, whole_numbers
from dlcore.data.splits import Splits
from dlcore.learner import CheckedRecord, Range
from dlcore.setting import PositiveInt

__all__ = ["Spirals", "segments", "spirals"]

DECAY, ANGULAR_SPEED = 0.1, 2.0


@whole_numbers
def spirals(count: int, seed: int = 0, length: int = 101, interval: float = 0.1) -> Source:
    """Draw trajectories that start in a random direction, at a distance of 1 to 2 from the origin.

    Args:
      count: N, number of trajectories.
      seed: trajectory i of a seed is the same whatever `count`.
      length: T, points of each trajectory, at least 2.
      interval: time between two points, above 0.

    Returns:
      A source of `state: [N, T, 2] float32` and `time: [N, T] float32`.
    """
    if count < 1 or length < 2 or not 0 < interval < np.inf:
        allowed = "count of at least 1, length of at least 2, interval above 0"
        raise ValueError(f"count={count}, length={length}, interval={interval}: too small; allowed: {allowed}")
    radius, angle = np.array([np.random.default_rng((seed, i)).random(2) for i in range(count)]).T[..., None]
    time = interval * np.arange(length)
    radius, angle = (1 + radius) * np.exp(-DECAY * time), 2 * np.pi * angle + ANGULAR_SPEED * time
    state = radius[..., None] * np.stack([np.cos(angle), np.sin(angle)], -1)
    arrays = {"state": state.astype(np.float32), "time": np.tile(time.astype(np.float32), (count, 1))}
    return Source(arrays, count, name="spirals")


@whole_numbers
def segments(source: Source, length: int) -> Source:
    """Cut trajectories into segments whose last point is the next one's first.

    Args:
      source: source with `state: [N, T, D]` and `time: [N, T]`.
      length: points of a segment, at least 2; points left at the end of a trajectory are dropped.

    Returns:
      A source of the same arrays, [N ((T - 1) // (length - 1)), length, ...].
    """
    points = source.arrays["time"].shape[1]
    if not 2 <= length <= points:
        raise ValueError(f"length={length}: no segment; allowed: 2 to the {points} points of a trajectory")
    starts = (length - 1) * np.arange((points - 1) // (length - 1))
    rows = starts[:, None] + np.arange(length)
    arrays = {name: v[:, rows].reshape(-1, length, *v.shape[2:]) for name, v in source.arrays.items()}
    return Source(arrays, name=source.name)


@dataclasses.dataclass(frozen=True)
class Spirals(CheckedRecord):
    """Trajectories of a spiral, of which training sees segments.

    Args:
      num_trajectories: training trajectories
      segment_length: points of a training example
      num_test: trajectories of validation, and as many of test
      precision: compute precision; this experiment has no other
    """

    num_trajectories: PositiveInt = 64
    segment_length: Annotated[int, Range(2, 101)] = 11
    num_test: PositiveInt = 32
    precision: Literal["f32"] = "f32"

    reads_files: ClassVar[bool] = False

    def load(self) -> Splits:
        """Draw the trajectories: `state [N, T, 2]` and `time [N, T]`."""
        train = segments(spirals(self.num_trajectories, 0), self.segment_length)
        valid, test = (spirals(self.num_test, seed) for seed in (1, 2))
        batch = {"state": [[2, 2], "float32"], "time": [[2], "float32"]}  # any times after the first state
        return Splits(train, valid, test, {"dataset": "spirals", "batch": batch})
