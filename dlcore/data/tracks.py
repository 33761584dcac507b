"""Noisy observations of moving objects, for state estimation: tracks in the plane, and the depth of a box.

The state of a track is its position p and its velocity v in the plane. A step lasts one unit of time:

    straight      v' = v + q w,  p' = p + v + q w / 2      w standard normal: the velocity drifts a little
    maneuvering   as straight, with an initial speed of 3, but each step also turns v by -0.35, 0 or 0.35 radians; the
                  angle is drawn anew with a probability of 0.1 per step
    observation   y = p + n                                n standard normal

A Kalman filter with the model of straight tracks is optimal for these, and wrong for maneuvering ones.
"""

import dataclasses
from typing import Annotated, Any, ClassVar

import numpy as np

from dlcore.data.source import Source, whole_numbers
from dlcore.data.splits import Splits
from dlcore.learner import CheckedRecord, Range
from dlcore.ops.checks import check_shapes
from dlcore.setting import FlagError, PositiveInt

__all__ = ["DRIFT", "START", "Tracks", "noisy_depths", "observed_part", "tracks"]

DRIFT = 0.1
"""q, standard deviation of the change of velocity per step."""

START = (10.0, 1.0)
"""Standard deviations of position and velocity at the first step; maneuvering tracks start at a speed of 3 instead."""

_SPEED, _TURN, _CHANGE = 3.0, 0.35, 0.1


@whole_numbers
def tracks(count: int, seed: int = 0, length: int = 50, maneuvering: bool = False) -> Source:
    """Draw tracks with noisy observations of their positions.

    Args:
      count: N, number of tracks.
      seed: track i of a seed is the same whatever `count`.
      length: T, number of steps.
      maneuvering: whether the target turns; it keeps an angle per step for ten steps on average.

    Returns:
      A source of `observation: [N, T, 2] float32` and `position: [N, T, 2] float32`.
    """
    check_shapes(count=(count, ">= 1"), length=(length, ">= 1"))
    rows = [np.random.default_rng((seed, i)) for i in range(count)]
    start, drift, noise = (np.stack([rng.normal(size=size) for rng in rows]) for size in ((2, 2), *2 * [(length, 2)]))
    p, v = START[0] * start[:, 0], START[1] * start[:, 1]
    angles = np.zeros((count, length))
    if maneuvering:
        v = _SPEED * v / np.linalg.norm(v, axis=1, keepdims=True)
        spans = [np.cumsum(rng.random(length) < _CHANGE) for rng in rows]
        angles = np.stack([_TURN * rng.integers(-1, 2, length + 1)[s] for rng, s in zip(rows, spans, strict=True)])
    cos, sin = np.cos(angles), np.sin(angles)
    position = np.empty((count, length, 2))
    for t in range(length):
        position[:, t] = p
        p = p + v + DRIFT / 2 * drift[:, t]
        across = np.stack([-v[:, 1], v[:, 0]], 1)
        v = cos[:, t, None] * v + sin[:, t, None] * across + DRIFT * drift[:, t]
    observation = position + noise
    arrays = {"observation": observation.astype(np.float32), "position": position.astype(np.float32)}
    return Source(arrays, count, name="maneuvering tracks" if maneuvering else "straight tracks")


@whole_numbers
def noisy_depths(count: int, seed: int = 0, length: int = 60, noise: float = 0.25) -> Source:
    """Draw the depth of a box that moves to and fro in front of a camera, and noisy estimates from single frames.

    The box moves at up to 0.08 m per frame, reverses at depths of 1 m and 5 m, and changes its speed every 20 frames on
    average. The errors of the estimates are independent.

    Args:
      count: N, number of videos.
      seed: video i of a seed is the same whatever `count`.
      length: T, frames of a video.
      noise: standard deviation of an estimate's error, in m.

    Returns:
      A source of `seen: [N, T, 1] float32`, the noisy estimates, and `depth: [N, T, 1] float32`, both in m.
    """
    check_shapes(count=(count, ">= 1"), length=(length, ">= 1"), noise=(noise, ">= 0"))
    depth, observed = np.zeros((2, count, length))
    for i in range(count):
        rng = np.random.default_rng((seed, i))
        spans = np.cumsum(rng.random(length) < 0.05)
        path = rng.uniform(1, 5) + np.cumsum(rng.uniform(-0.08, 0.08, length + 1)[spans])
        depth[i] = 1 + np.abs((path - 1 + 4) % 8 - 4)  # reflected at 1 m and at 5 m
        observed[i] = depth[i] + noise * rng.normal(size=length)
    arrays = {"seen": observed[..., None].astype(np.float32), "depth": depth[..., None].astype(np.float32)}
    return Source(arrays, count, name="noisy depths")


DRIFTS = tuple(DRIFT * 2.0**k for k in range(-2, 6))
"""Of which the tuned filter takes the best."""


def observed_part(source: Source) -> Source:
    """Compute the steps between the observations of tracks, and the errors of the observations.

    Args:
      source: `observation [N, T, 2]` and `position [N, T, 2]`.

    Returns:
      The source with `input [N, T, 2]`, the steps, and `target [N, T, 2]`, the errors.
    """
    y, p = source.arrays["observation"], source.arrays["position"]
    steps = np.concatenate([np.zeros_like(y[:, :1]), np.diff(y, axis=1)], 1)
    return Source({"input": steps, "target": p - y, **source.arrays}, name=source.name)


@dataclasses.dataclass(frozen=True)
class Tracks(CheckedRecord):
    """Tracks of a moving point in noise.

    Args:
      maneuvering: the target turns now and then
      train_size: training tracks
      test_size: tracks of validation, and as many of test
      length: steps of a track
    """

    maneuvering: Annotated[bool, "essential"] = False
    train_size: PositiveInt = 10_000
    test_size: PositiveInt = 1000
    length: Annotated[int, Range(2)] = 50

    reads_files: ClassVar[bool] = False

    def check(self, run: Any) -> None:
        """Check that the network answers at each step."""
        if (pattern := run.parts.technique.keywords["pattern"]) != "many_to_many":
            raise FlagError(f"--pattern={pattern}: a track wants an answer a step; allowed: many_to_many")

    def load(self) -> Splits:
        """Draw the tracks, see `observed_part`."""
        sizes = self.train_size, self.test_size, self.test_size
        splits = [observed_part(tracks(n, seed, self.length, self.maneuvering)) for seed, n in enumerate(sizes)]
        return Splits(*splits, {"dataset": splits[0].name})
