"""Synthetic handwritten characters: each class is a set of strokes, which also are its attributes (zero-shot learning).

A character consists of 5 of the 20 lines between neighbors of a 3 x 3 grid of points (straight and diagonal). Each
drawing moves the points a little, rotates, scales and shifts the character, and draws a pen width at random:

    value = 1 / (1 + exp(2 (distance - width / 2)))      distance to the nearest stroke, in sixteenths of the side
"""

import itertools

import numpy as np

from dlcore.data.source import Source, check_seed, whole_numbers
from dlcore.ops.checks import check_shapes

__all__ = ["LINES", "STROKES", "stroke_characters"]

STROKES = 5
"""Number of strokes of a character."""

LINES = tuple(
    (a, b)
    for a, b in itertools.combinations(itertools.product(range(3), range(3)), 2)
    if max(abs(a[0] - b[0]), abs(a[1] - b[1])) == 1
)
"""Endpoints ((row, column), (row, column)) of the 20 possible strokes."""


@whole_numbers
def stroke_characters(classes: range, per_class: int = 20, size: int = 16) -> Source:
    """Draw characters.

    Args:
      classes: numbers of the characters, in [0, 15504); a number means the same character in every call.
      per_class: number of drawings of each character.
      size: side of the images in pixels, at least 8.

    Returns:
      A source, character by character: `image: [N, size, size, 1] float32 in [0, 1]`, `label: [N] int32` from 0 in the
      order of `classes`, and `attributes: [N, 20] float32`, 1 for each line of LINES that is a stroke.
    """
    sets = np.array(list(itertools.combinations(range(len(LINES)), STROKES)))
    if not classes or min(classes) < 0 or max(classes) >= len(sets) or per_class < 1:
        raise ValueError(f"{classes=}, {per_class=}: out of range; allowed: 0 to {len(sets) - 1}, from 1")
    check_shapes(size=(size, ">= 8"))
    strokes = np.random.default_rng(check_seed(0)).permutation(sets)[list(classes)]
    images = np.concatenate(
        [_draw(stroke_ids, per_class, size, c) for stroke_ids, c in zip(strokes, classes, strict=True)]
    )
    attributes = np.zeros((len(strokes), len(LINES)), np.float32)
    np.put_along_axis(attributes, strokes, 1, 1)
    arrays = {
        "image": images,
        "label": np.repeat(np.arange(len(strokes), dtype=np.int32), per_class),
        "attributes": attributes.repeat(per_class, 0),
    }
    names = tuple(f"character {c}" for c in classes)
    return Source(arrays, class_names=names, name=f"stroke characters {classes.start} to {classes.stop - 1}")


def _draw(strokes: np.ndarray, count: int, size: int, seed: int) -> np.ndarray:
    """Draw one character `count` times: [count, size, size, 1]."""
    rng = np.random.default_rng((3, seed))
    points = np.stack(np.meshgrid(*[np.linspace(-0.3, 0.3, 3)] * 2, indexing="ij"), -1)
    points = points + rng.normal(0, 0.035, (count, 3, 3, 2))
    turn, scale = rng.uniform(-0.35, 0.35, count), rng.uniform(0.75, 1.15, count)
    matrix = np.stack([np.cos(turn), -np.sin(turn), np.sin(turn), np.cos(turn)], -1).reshape(count, 2, 2)
    points = np.einsum("nij,nabj->nabi", matrix, points) * scale[:, None, None, None]
    points = size * (points + 0.5 + rng.uniform(-0.1, 0.1, (count, 1, 1, 2)))
    endpoints = np.array(LINES)[strokes]
    first, last = (points[:, endpoints[:, k, 0], endpoints[:, k, 1]][:, :, None] for k in (0, 1))
    along = np.arange(size) + 0.5
    pixels = np.stack(np.meshgrid(along, along, indexing="ij"), -1).reshape(1, 1, -1, 2)
    line = last - first
    t = np.clip(((pixels - first) * line).sum(-1) / np.square(line).sum(-1), 0, 1)[..., None]
    distance = np.sqrt(np.square(pixels - first - t * line).sum(-1)).min(1)
    width = size / 16 * rng.uniform(0.8, 1.8, (count, 1))
    value = 1 / (1 + np.exp(2 * (distance - width / 2) * 16 / size))
    return value.reshape(count, size, size, 1).astype(np.float32)
