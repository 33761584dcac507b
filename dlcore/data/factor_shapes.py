"""Images of one bright shape with known factors of variation (position, radius, brightness), to test latent spaces.

value = brightness * sigmoid(2 (radius - distance)),   all lengths in pixels
distance = sqrt(dx^2 + dy^2) for a disc and max(|dx|, |dy|) for a square, from the center of the shape
"""

import numpy as np

from dlcore.data.source import Source, check_seed, whole_numbers
from dlcore.ops.checks import check_indices, check_shapes

__all__ = ["FACTORS", "SHAPES", "draw_factors", "factor_shapes", "simulate_camera"]

FACTORS = ("x", "y", "radius", "brightness")
"""The columns of `factors`: the center (x, y) and the radius as fractions of the side, and the pixel value inside."""
SHAPES = ("disc", "square")
"""Classes of the images."""

_LOW, _HIGH = (0.3, 0.3, 0.12, 0.5), (0.7, 0.7, 0.25, 1.0)


@whole_numbers
def factor_shapes(count: int, seed: int = 0, size: int = 16) -> Source:
    """Draw images with uniformly distributed factors.

    Args:
      count: N, number of images.
      seed: random seed; image i depends on (seed, i) and not on `count`.
      size: side of an image in pixels, at least 8.

    Returns:
      A source of `image: [N, size, size, 1] float32 in [0, 1]`, `label: [N] int32` (index of SHAPES), and
      `factors: [N, 4] float32` (in the order of FACTORS).
    """
    check_shapes(count=(count, ">= 1"), size=(size, ">= 8"))
    rows = [np.random.default_rng((seed, i)) for i in range(count)]
    factors = np.stack([rng.uniform(_LOW, _HIGH) for rng in rows]).astype(np.float32)
    label = np.array([rng.integers(len(SHAPES)) for rng in rows], np.int32)
    arrays = {"image": draw_factors(factors, label, size), "label": label, "factors": factors}
    return Source(arrays, count, class_names=SHAPES, name="factor shapes")


@whole_numbers
def draw_factors(factors: np.ndarray, label: np.ndarray, size: int) -> np.ndarray:
    """Render an image of each row of factors.

    Args:
      factors: [N, 4], in the order of FACTORS.
      label: [N] int, index of SHAPES.
      size: side of an image in pixels.

    Returns:
      [N, size, size, 1] float32 in [0, 1].
    """
    check_shapes(factors=(factors, "N 4 finite"), label=(label, "N"), size=(size, "int >= 1"))
    check_indices("label", label, len(SHAPES), "shapes")
    x, y, radius, brightness = np.asarray(factors, np.float32).T[:, :, None, None]
    along = np.arange(size, dtype=np.float32) + 0.5
    dx, dy = np.abs(along - size * x), np.abs(along[:, None] - size * y)
    distance = np.where(np.asarray(label)[:, None, None] == 0, np.hypot(dx, dy), np.maximum(dx, dy))
    value = brightness / (1 + np.exp(-2 * (size * radius - distance)))
    return value[..., None].astype(np.float32)


def simulate_camera(images: np.ndarray, seed: int = 0) -> np.ndarray:
    """Simulate photographs of rendered images: lower contrast, uneven light on a bright background, stripes, noise.

    Args:
      images: [N, H, H, 1] in [0, 1], rendered.
      seed: random seed of light and noise; image i depends on (seed, i) and not on N.

    Returns:
      [N, H, H, 1] float32 in [0, 1].
    """
    check_shapes(images=(images, "N H H 1"))
    check_seed(seed)
    side = np.arange(images.shape[1], dtype=np.float32) / images.shape[1]
    shots = []
    for i, image in enumerate(images):
        rng = np.random.default_rng((seed, 7, i))
        turn, wave, phase = rng.uniform(0, 2 * np.pi), rng.uniform(2, 6), rng.uniform(0, 2 * np.pi)
        along = np.cos(turn) * side[None] + np.sin(turn) * side[:, None]
        light = 0.3 + 0.15 * along + 0.08 * np.sin(2 * np.pi * wave * along + phase)
        shot = light[..., None] + 0.5 * image + rng.normal(0, 0.05, image.shape)
        shots.append(np.clip(shot, 0, 1))
    return np.asarray(shots, np.float32)
