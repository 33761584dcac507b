"""Scenes of one handwritten digit among clutter: where to look is a part of the question what it is.

As the cluttered digits of Mnih et al. 2014 (arXiv:1406.6247), of scikit-learn's digits at twice their size.
"""

import numpy as np

from dlcore.data.digits import digits
from dlcore.data.source import Source

__all__ = ["DIGIT", "digit_scenes"]

DIGIT = 16
"""Side of the digit in a scene, in pixels."""
_PIECE = 8
_SPLITS = {"train": ("train", slice(None, 1097)), "valid": ("train", slice(1097, None)), "test": ("test", slice(None))}


def digit_scenes(
    split: str, count: int, seed: int = 0, *, size: int = 60, clutter: int = 4, noise: float = 0.1
) -> Source:
    """Draw scenes: `image: [N, size, size, 1] uint8`, `label: [N] int32`, `box: [N, 4] float32` (corners x, y, x, y).

    Args:
      split: "train", "valid" or "test": no two share a digit, and those of "test" are by other writers.
      count: N, number of scenes.
      seed: scene i of one seed is the same whatever `count`.
      size: side of a scene, in pixels.
      clutter: pieces of other digits, 8 x 8 pixels each, that lie about; the digit lies on top.
      noise: largest brightness of the background, of 1.

    Returns:
      The source.

    Raises:
      ValueError: the split is unknown, or the scene smaller than a digit.
    """
    if split not in _SPLITS:
        raise ValueError(f"split={split!r}: unknown; allowed: {', '.join(_SPLITS)}")
    if size < DIGIT:
        raise ValueError(f"size={size}: smaller than a digit; allowed: at least {DIGIT}")
    name, rows = _SPLITS[split]
    source = digits(name)
    images, labels = source.arrays["image"][rows, :, :, 0], source.arrays["label"][rows]
    scenes, boxes = np.zeros((count, size, size), np.uint8), np.zeros((count, 4), np.float32)
    chosen = np.zeros(count, np.int32)
    for i in range(count):
        rng = np.random.default_rng((seed, i))
        scene = noise * rng.random((size, size))
        for _ in range(clutter):
            piece = images[rng.integers(len(images))].repeat(2, 0).repeat(2, 1)
            _paste(scene, _cut(rng, piece, _PIECE), rng)
        chosen[i] = rng.integers(len(images))
        row, column = _paste(scene, images[chosen[i]].repeat(2, 0).repeat(2, 1), rng)
        scenes[i] = np.rint(255 * scene)
        boxes[i] = column, row, column + DIGIT, row + DIGIT
    arrays = {"image": scenes[..., None], "label": labels[chosen], "box": boxes}
    return Source(arrays, count, source.class_names, name=f"digit scenes/{split}")


def _cut(rng: np.random.Generator, image: np.ndarray, size: int) -> np.ndarray:
    row, column = rng.integers(len(image) - size + 1, size=2)
    return image[row : row + size, column : column + size]


def _paste(scene: np.ndarray, image: np.ndarray, rng: np.random.Generator) -> tuple[int, int]:
    """Lay an image into a scene at a random place: (row, column) of its corner."""
    row, column = map(int, rng.integers(len(scene) - len(image) + 1, size=2))
    part = scene[row : row + len(image), column : column + len(image)]
    np.maximum(part * (len(image) < DIGIT), image, out=part)
    return row, column
