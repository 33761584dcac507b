"""Clips of a ball that bounces in a box, with their sound: a click at each contact with a wall.

The ball flies straight, so that where it is can be said at any time: the coordinate as if there were no walls, folded
back into the box; a contact is a fold. A frame shows the box from half a frame before to half a frame after, and has as
many samples of sound. What touches when is drawn for the middle frame, so that its five classes are equally frequent.
"""

import numpy as np

from dlcore.data.source import Source, checked_seed

__all__ = ["CONTACTS", "bounces"]

CONTACTS = ("none", "left", "right", "top", "bottom")
"""Classes of the middle frame: the wall that the ball touches."""

_RADIUS = 3.0


def bounces(count: int, seed: int = 0, *, frames: int = 8, size: int = 24, samples: int = 16) -> Source:
    """Draw clips.

    The arrays are `clip: [N, frames, size, size, 3] uint8`, `sound: [N, frames, samples] float32` in about [-1, 1],
    `contact: [N, frames] int32` (how many walls are touched in each frame), `image: [N, size, size, 3]` (the middle
    frame) and `label: [N] int32` (of CONTACTS, of the middle frame).

    Args:
      count: N, clips.
      seed: clip i of a seed is the same whatever `count`.
      frames: number of frames of a clip.
      size: side of a frame in pixels.
      samples: sound samples per frame.

    Returns:
      The source.

    Raises:
      ValueError: a number is too small.
    """
    checked_seed(seed)
    for name, value, least in (("frames", frames, 2), ("size", size, 16), ("samples", samples, 4)):
        if value < least:
            raise ValueError(f"{name}={value}: too small; allowed: at least {least}")
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
    """Where the ball is in the middle frame, from the wall and unfolded, and how far it flies in a frame: [2], [2]."""
    velocity = rng.uniform(2.5, 4.5, 2) * rng.choice([-1, 1], 2)
    start = rng.uniform(3.0, span - 3.0, 2)
    if touched != "none":
        axis = 0 if touched in ("left", "right") else 1
        start[axis] = (span if touched in ("right", "bottom") else 0.0) + velocity[axis] * rng.uniform(-0.3, 0.3)
    return start, velocity


def _contacts(position: float, speed: float, span: float, frames: int) -> np.ndarray:
    """When one coordinate is folded, in frames from the beginning of the first, in [0, frames)."""
    endpoints = np.sort([position + speed * (t - frames // 2) for t in (-0.5, frames - 0.5)])
    folds = span * np.arange(np.ceil(endpoints[0] / span), np.floor(endpoints[1] / span) + 1)
    when = (folds - position) / speed + frames // 2 + 0.5
    return np.sort(when[(when >= 0) & (when < frames)])
