"""Clips of a ball that bounces in a box, with their sound: a click at each contact with a wall.

The ball moves at constant speed. Its position is the position that it would have without walls, folded back into the
box; each fold is a contact with a wall. Frame t shows the ball at time t; its sound and its contacts are those from
t - 1/2 to t + 1/2. The wall that is touched in the middle frame is chosen first, so that the five classes are equally
frequent.
"""

import numpy as np

from dlcore.data.source import Source, whole_numbers
from dlcore.ops.checks import check_shapes

__all__ = ["CONTACTS", "bounces"]

CONTACTS = ("none", "left", "right", "top", "bottom")
"""Classes of the middle frame: the wall that the ball touches."""

_RADIUS = 3.0
"""Radius of the ball in pixels."""


@whole_numbers
def bounces(count: int, seed: int = 0, *, frames: int = 8, size: int = 24, samples: int = 16) -> Source:
    """Draw clips of a bouncing ball with sound.

    The arrays are `clip: [N, frames, size, size, 3] uint8`, `sound: [N, frames, samples] float32` in about [-1, 1],
    `contact: [N, frames] int32` (number of contacts in each frame), `image: [N, size, size, 3] uint8` (the middle
    frame) and `label: [N] int32` (index of CONTACTS, of the middle frame).

    Args:
      count: N, number of clips.
      seed: random seed; clip i depends on (seed, i) and not on `count`.
      frames: number of frames of a clip, at least 2.
      size: side of a frame in pixels, at least 16.
      samples: number of sound samples per frame, at least 4.

    Returns:
      The source.
    """
    check_shapes(frames=(frames, ">= 2"), size=(size, ">= 16"), samples=(samples, ">= 4"))
    clip = np.zeros((count, frames, size, size, 3), np.uint8)
    sound = np.zeros((count, frames, samples), np.float32)
    contact = np.zeros((count, frames), np.int32)
    label = (np.arange(count) % len(CONTACTS)).astype(np.int32)
    pixels, span = np.arange(size) + 0.5, size - 2 * _RADIUS
    for i in range(count):
        rng = np.random.default_rng((seed, i))
        start, velocity = _flight(rng, CONTACTS[label[i]], span)
        times = np.arange(frames) - frames // 2
        path = start[:, None] + velocity[:, None] * times
        x, y = _RADIUS + span - np.abs(path % (2 * span) - span)
        ball, wall = rng.integers(120, 256, 3), rng.integers(0, 90, 3)
        inside = np.square(pixels - x[:, None])[:, None] + np.square(pixels - y[:, None])[:, :, None] <= _RADIUS**2
        clip[i] = np.where(inside[..., None], ball, wall) + rng.integers(0, 8, (frames, size, size, 1))
        clicks = np.zeros(frames * samples)
        for position, speed in zip(start, velocity, strict=True):
            for when in _contacts(position, speed, span, frames):
                sample_index = when * samples
                contact[i, int(when)] += 1
                after = np.arange(int(sample_index), frames * samples) - int(sample_index)
                clicks[int(sample_index) :] += np.exp(-after / 2.0) * np.cos(after * np.pi / 2)
        sound[i] = (clicks + rng.normal(0, 0.05, clicks.shape)).reshape(frames, samples)
    arrays = {"clip": clip, "sound": sound, "contact": contact, "image": clip[:, frames // 2], "label": label}
    return Source(arrays, count, class_names=CONTACTS, name="bounces")


def _flight(rng: np.random.Generator, touched: str, span: float) -> tuple[np.ndarray, np.ndarray]:
    """Draw (position [2] in the middle frame from the left and top walls, unfolded; velocity [2] in pixels a frame)."""
    velocity = rng.uniform(2.5, 4.5, 2) * rng.choice([-1, 1], 2)
    start = rng.uniform(3.0, span - 3.0, 2)
    if touched != "none":
        axis = 0 if touched in ("left", "right") else 1
        start[axis] = (span if touched in ("right", "bottom") else 0.0) + velocity[axis] * rng.uniform(-0.3, 0.3)
    return start, velocity


def _contacts(position: float, speed: float, span: float, frames: int) -> np.ndarray:
    """Return the times at which one coordinate is folded, in frames from the start of the first, in [0, frames)."""
    endpoints = np.sort([position + speed * (t - frames // 2) for t in (-0.5, frames - 0.5)])
    folds = span * np.arange(np.ceil(endpoints[0] / span), np.floor(endpoints[1] / span) + 1)
    when = (folds - position) / speed + frames // 2 + 0.5
    return np.sort(when[(when >= 0) & (when < frames)])
