"""Noisy observations of moving objects, for state estimation: tracks in the plane, and the depth of a box.

The state of a track is its position p and its velocity v in the plane. A step lasts one unit of time:

    straight      v' = v + q w,  p' = p + v + q w / 2      w standard normal: the velocity drifts a little
    maneuvering   as straight, with an initial speed of 3, but each step also turns v by -0.35, 0 or 0.35 radians; the
                  angle is drawn anew with a probability of 0.1 per step
    observation   y = p + n                                n standard normal

A Kalman filter with the model of straight tracks is optimal for these, and wrong for maneuvering ones.
"""

import numpy as np

from dlcore.data.source import Source, check_seed, whole_numbers
from dlcore.ops.checks import check_range

__all__ = ["DRIFT", "START", "noisy_depths", "tracks"]

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
    _check(count, length)
    check_seed(seed)
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
    _check(count, length)
    check_seed(seed)
    check_range("noise", noise, 0)
    depth, observed = np.zeros((2, count, length))
    for i in range(count):
        rng = np.random.default_rng((seed, i))
        spans = np.cumsum(rng.random(length) < 0.05)
        path = rng.uniform(1, 5) + np.cumsum(rng.uniform(-0.08, 0.08, length + 1)[spans])
        depth[i] = 1 + np.abs((path - 1 + 4) % 8 - 4)  # reflected at 1 m and at 5 m
        observed[i] = depth[i] + noise * rng.normal(size=length)
    arrays = {"seen": observed[..., None].astype(np.float32), "depth": depth[..., None].astype(np.float32)}
    return Source(arrays, count, name="noisy depths")


def _check(count: int, length: int) -> None:
    if count < 1 or length < 1:
        raise ValueError(f"count={count}, length={length}: too small; allowed: at least 1")
