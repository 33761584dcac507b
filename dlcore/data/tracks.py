"""Things that move, seen with noise: tracks in the plane, and the depth of a box.

A track of state (position, velocity) in the plane, one step a unit of time:

    straight      v' = v + q w,  p' = p + v + q w / 2          w normal: the velocity drifts a little
    maneuvering   the same at a speed of 3, but the velocity turns by an angle of 0 or +-0.35, drawn anew now and then
    seen          y = p + n,  n normal of standard deviation 1

In the first a Kalman filter that knows the model is the best there is; in the second it has the wrong model.
"""

import numpy as np

from dlcore.data.source import Source, checked_seed

__all__ = ["DRIFT", "START", "noisy_depths", "tracks"]

DRIFT = 0.1
"""q, the standard deviation of the velocity's change in a step."""

START = (10.0, 1.0)
"""Standard deviations of position and velocity at the first step."""

_SPEED, _TURN, _CHANGE = 3.0, 0.35, 0.1


def tracks(count: int, seed: int = 0, length: int = 50, maneuvering: bool = False) -> Source:
    """Draw tracks and what is seen of them.

    Args:
      count: N, tracks.
      seed: track i of a seed is the same whatever `count`.
      length: T, steps.
      maneuvering: let the target turn, in spans of ten steps on average.

    Returns:
      A source of `observation: [N, T, 2] float32` and `position: [N, T, 2] float32`.

    Raises:
      ValueError: a number is too small.
    """
    _check(count, length)
    checked_seed(seed)
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


def noisy_depths(count: int, seed: int = 0, length: int = 60, noise: float = 0.25) -> Source:
    """Draw the depth of a box that moves to and fro before a camera, as a network sees it frame by frame.

    The box has a speed of up to 0.08 m a frame, turns round at 1 m and at 5 m, and now and then changes its speed. Each
    frame's depth is wrong by itself.

    Args:
      count: N, films.
      seed: film i of a seed is the same whatever `count`.
      length: T, frames.
      noise: standard deviation of a frame's error, m.

    Returns:
      A source of `seen: [N, T, 1] float32` and `depth: [N, T, 1] float32`, in m.

    Raises:
      ValueError: a number is too small.
    """
    _check(count, length)
    checked_seed(seed)
    depth, observed = np.zeros((2, count, length))
    for i in range(count):
        rng = np.random.default_rng((seed, i))
        spans = np.cumsum(rng.random(length) < 0.05)
        path = rng.uniform(1, 5) + np.cumsum(rng.uniform(-0.08, 0.08, length + 1)[spans])
        depth[i] = 1 + np.abs((path - 1 + 4) % 8 - 4)  # reflected at 1 and at 5
        observed[i] = depth[i] + noise * rng.normal(size=length)
    arrays = {"seen": observed[..., None].astype(np.float32), "depth": depth[..., None].astype(np.float32)}
    return Source(arrays, count, name="noisy depths")


def _check(count: int, length: int) -> None:
    if count < 1 or length < 1:
        raise ValueError(f"count={count}, length={length}: too small; allowed: at least 1")
