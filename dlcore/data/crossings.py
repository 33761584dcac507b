"""Clips of shapes that cross and hide one another, with their tracks and the detections of an imagined detector.

Each shape moves straight on at a constant speed and turns back at the frame's border. Shape k lies in front of shapes
k + 1 and on; c is the fraction of its box that the boxes in front of it cover. A detector would find

    the box     with errors of the corners of a standard deviation of 3 % of its side
    its score   0.9 - score_drop c + n,   n of standard deviation 0.05
    nothing     where c > 0.9, and else in 2 % of the frames
    alarms      boxes anywhere without an object, of scores from 0.1 to 0.5
"""

import numpy as np

from dlcore.data.scenes import SHAPES
from dlcore.data.shape_grid import COLORS, paint
from dlcore.data.source import Source, whole_numbers
from dlcore.ops.checks import check_finite, check_range

__all__ = ["crossings"]

_HIDDEN, _MISSED = 0.9, 0.02


@whole_numbers
def crossings(
    count: int,
    seed: int = 0,
    *,
    frames: int = 60,
    size: int = 96,
    objects: int = 5,
    score_drop: float = 0.0,
    alarms: float = 0.5,
) -> Source:
    """Draw clips of shapes that cross.

    The arrays are `clip: [N, F, size, size, 3] uint8`; the tracks `boxes: [N, F, K, 4] float32` (x0, y0, x1, y1) in
    pixels and `ids: [N, F, K] int32`, -1 where a shape is hidden; and the detections in random order,
    `detection_boxes: [N, F, D, 4] float32`, `scores: [N, F, D] float32` and `valid: [N, F, D] bool`, D = K + 4.

    Args:
      count: N, number of clips.
      seed: random seed; clip i depends on (seed, i) and not on `count`, and its pictures not on `score_drop`.
      frames: F, number of frames of a clip, at least 2.
      size: side of a frame in pixels, at least 48.
      objects: K, number of shapes.
      score_drop: by how much the score of a covered shape is below that of a visible one.
      alarms: mean number of false alarms a frame; there are at most 4.

    Returns:
      The source.
    """
    limits = {"count": (count, 1), "frames": (frames, 2), "size": (size, 48), "objects": (objects, 1)}
    for name, (value, low) in (limits | {"score_drop": (score_drop, 0), "alarms": (alarms, 0)}).items():
        check_range(name, value, low)
        check_finite(name, value)
    check_range("score_drop", score_drop, 0, 1)
    arrays = {
        "clip": np.zeros((count, frames, size, size, 3), np.uint8),
        "boxes": np.zeros((count, frames, objects, 4), np.float32),
        "ids": np.full((count, frames, objects), -1, np.int32),
        "detection_boxes": np.zeros((count, frames, objects + 4, 4), np.float32),
        "scores": np.zeros((count, frames, objects + 4), np.float32),
        "valid": np.zeros((count, frames, objects + 4), bool),
    }
    for i in range(count):
        rng = np.random.default_rng((seed, i))
        radius = rng.uniform(6, 10, objects)
        span = size - 2 * radius[:, None]
        path = (
            rng.uniform(0, 2, (objects, 2)) * span
            + rng.uniform(-2.5, 2.5, (objects, 2)) * np.arange(frames)[:, None, None]
        )
        center = radius[:, None] + span - np.abs(path % (2 * span) - span)  # folded at the border
        boxes = np.concatenate([center - radius[:, None], center + radius[:, None]], -1)
        covered = _covered(boxes, size)
        arrays["boxes"][i] = boxes
        arrays["ids"][i] = np.where(covered <= _HIDDEN, np.arange(objects), -1)
        arrays["clip"][i] = _pictures(rng, center, radius, size)
        detections = _detections(rng, boxes, covered, score_drop, alarms, size)
        arrays["detection_boxes"][i], arrays["scores"][i], arrays["valid"][i] = detections
    return Source(arrays, count, name=f"crossings, scores falling by {score_drop:g}")


def _covered(boxes: np.ndarray, size: int) -> np.ndarray:
    """Return the fraction of each box [F, K, 4] that the boxes before it cover, on a grid of pixels: [F, K]."""
    pixels = np.arange(size) + 0.5
    inside = [(pixels >= boxes[..., k, None]) & (pixels < boxes[..., k + 2, None]) for k in (0, 1)]
    masks = inside[1][..., :, None] & inside[0][..., None, :]  # [F, K, size, size]
    in_front = np.logical_or.accumulate(masks, 1)
    in_front = np.concatenate([np.zeros_like(masks[:, :1]), in_front[:, :-1]], 1)
    return (masks & in_front).sum((2, 3)) / masks.sum((2, 3))


def _pictures(rng: np.random.Generator, center: np.ndarray, radius: np.ndarray, size: int) -> np.ndarray:
    """Paint the shapes, the last first: uint8 [F, size, size, 3]."""
    colors = rng.permutation(list(COLORS.values()))
    shapes = rng.choice(SHAPES, len(radius))
    pictures = rng.normal(120, 6, (len(center), size, size, 3))
    for canvas, centers in zip(pictures, center, strict=True):
        for k in range(len(radius))[::-1]:
            paint(canvas, shapes[k], colors[k % len(colors)], tuple(centers[k]), radius[k])
    return pictures.clip(0, 255).astype(np.uint8)


def _detections(
    rng: np.random.Generator, boxes: np.ndarray, covered: np.ndarray, score_drop: float, alarms: float, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw (boxes [F, D, 4], scores [F, D], valid [F, D])."""
    frames = len(boxes)
    sides = boxes[..., 2:] - boxes[..., :2]
    noisy = boxes + 0.03 * np.concatenate([sides, sides], -1) * rng.normal(size=boxes.shape)
    scores = (0.9 - score_drop * covered + rng.normal(0, 0.05, covered.shape)).clip(0.01, 1)
    detected = (covered <= _HIDDEN) & (rng.random(covered.shape) >= _MISSED)
    corner, alarm_sides = rng.uniform(0, size - 20, (frames, 4, 2)), rng.uniform(12, 20, (frames, 4, 2))
    is_alarm = np.arange(4) < rng.poisson(alarms, (frames, 1))
    noisy = np.concatenate([noisy, np.concatenate([corner, corner + alarm_sides], -1)], 1)
    scores = np.concatenate([scores, rng.uniform(0.1, 0.5, (frames, 4))], 1)
    valid = np.concatenate([detected, is_alarm], 1)
    order = np.argsort(rng.random(scores.shape), 1)
    row = np.arange(frames)[:, None]
    return noisy[row, order], scores[row, order], valid[row, order]
