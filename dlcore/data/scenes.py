"""Procedural scenes for detection: colored shapes on textured backgrounds, with boxes exact to the pixel.

A shape is drawn by its inside test at pixel centers, and its box is the extent of the pixels it covers, whether or not
a later shape hides some of them (no two cover more than `overlap` of the smaller box).
"""

import numpy as np

from dlcore.data.source import Source

__all__ = ["SHAPES", "covers", "scenes"]

SHAPES = ("circle", "square", "triangle", "cross", "ring")


def scenes(
    count: int,
    seed: int = 0,
    *,
    size: int = 96,
    max_boxes: int = 6,
    smallest: int = 16,
    largest: int = 48,
    overlap: float = 0.1,
    empty: float = 0.03,
) -> Source:
    """Draw scenes, with boxes and labels.

    The arrays are `image: [N, size, size, 3] uint8`, `boxes: [N, M, 4] float32` (corners, in pixels),
    `labels: [N, M] int32` (-1 for padding) and `box_mask: [N, M] bool`.

    Args:
      count: N, number of scenes.
      seed: scene i of one seed is the same whatever `count`.
      size: side of a scene, in pixels.
      max_boxes: M, most shapes of a scene.
      smallest: least diameter of a shape, in pixels.
      largest: greatest diameter of a shape, in pixels.
      overlap: most that two boxes share, as a fraction of the smaller one.
      empty: share of scenes without a shape.

    Returns:
      The source.

    Raises:
      ValueError: the sizes do not fit, or `max_boxes` is below 1.
    """
    if not 3 <= smallest <= largest < size:
        raise ValueError(
            f"smallest={smallest}, largest={largest}: no range; allowed: 3 <= smallest <= largest < {size}"
        )
    if max_boxes < 1:
        raise ValueError(f"max_boxes={max_boxes}: out of range; allowed: at least 1")
    image = np.zeros((count, size, size, 3), np.uint8)
    boxes = np.zeros((count, max_boxes, 4), np.float32)
    labels = np.full((count, max_boxes), -1, np.int32)
    for i in range(count):
        rng = np.random.default_rng((seed, i))
        canvas = _background(rng, size)
        num_shapes = 0 if rng.random() < empty else rng.integers(1, max_boxes + 1)
        placed: list[np.ndarray] = []
        for _ in range(num_shapes):
            label, mask = _shape(rng, size, smallest, largest)
            box = _extent(mask)
            if any(_covered(box, other) > overlap for other in placed):
                continue
            canvas[mask] = _fill(rng, canvas[mask])
            boxes[i, len(placed)], labels[i, len(placed)] = box, label
            placed.append(box)
        noisy = canvas + rng.normal(0, rng.uniform(0, 10), canvas.shape)
        image[i] = noisy.clip(0, 255).astype(np.uint8)
    arrays = {"image": image, "boxes": boxes, "labels": labels, "box_mask": labels >= 0}
    return Source(arrays, count, SHAPES, name="scenes")


def covers(shape: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Tell which points lie in a shape whose center is the origin and whose outer radius is 1.

    Args:
      shape: of SHAPES.
      u: [...], to the right.
      v: [...], downward.

    Returns:
      [...] bool.

    Raises:
      ValueError: the shape is unknown.
    """
    if shape == "circle":
        return np.hypot(u, v) <= 1
    if shape == "square":
        return np.maximum(abs(u), abs(v)) <= np.sqrt(0.5)
    if shape == "triangle":
        return (v <= 0.5) & (np.sqrt(3) * abs(u) - v <= 1)
    if shape == "cross":
        return (np.minimum(abs(u), abs(v)) <= 0.3) & (np.maximum(abs(u), abs(v)) <= 0.95)
    if shape == "ring":
        far = np.hypot(u, v)
        return (far <= 1) & (far >= 0.55)
    raise ValueError(f"shape={shape!r}: unknown; allowed: {', '.join(SHAPES)}")


def _background(rng: np.random.Generator, size: int) -> np.ndarray:
    """A color, a slow ramp of it, stripes and blocks: float [size, size, 3]."""
    y, x = np.mgrid[:size, :size] / size
    base, tilt = rng.uniform(30, 225, 3), rng.normal(0, 40, (2, 3))
    angle, waves = rng.uniform(0, np.pi), rng.uniform(2, 14)
    stripes = np.sin(2 * np.pi * waves * (x * np.cos(angle) + y * np.sin(angle)))
    cells = rng.integers(3, 13)
    blocks = rng.normal(0, 1, (cells, cells, 3))[np.floor(y * cells).astype(int), np.floor(x * cells).astype(int)]
    texture = rng.uniform(0, 22) * stripes[..., None] + rng.uniform(0, 16) * blocks
    return base + y[..., None] * tilt[0] + x[..., None] * tilt[1] + texture


def _shape(rng: np.random.Generator, size: int, smallest: int, largest: int) -> tuple[int, np.ndarray]:
    """A class and the pixels of one shape of it, turned at random, wholly inside."""
    label = int(rng.integers(len(SHAPES)))
    radius = np.exp(rng.uniform(np.log(smallest), np.log(largest))) / 2
    center = rng.uniform(radius, size - radius, 2)
    angle = rng.uniform(0, 2 * np.pi)
    y, x = (np.mgrid[:size, :size] + 0.5 - center[:, None, None]) / radius
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return label, covers(SHAPES[label], u, v)


def _fill(rng: np.random.Generator, behind: np.ndarray) -> np.ndarray:
    """A color well apart from the mean of what it covers: float [3]."""
    mean = behind.mean(0)
    for _ in range(20):
        color = rng.uniform(0, 255, 3)
        if np.abs(color - mean).max() > 70:
            break
    return color


def _extent(mask: np.ndarray) -> np.ndarray:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)


def _covered(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over the smaller of two boxes."""
    sides = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    return sides.prod() / min((a[2:] - a[:2]).prod(), (b[2:] - b[:2]).prod())
