"""Planted organs: small scans of drawn bodies whose organs cannot be told apart by their intensity alone.

A body is an ellipsoid of intensity 1 in air of intensity 0. Drawn in this order, later parts over earlier ones:

    part          intensity  label  where
    vessel        2          0      a tube along the depth, behind the middle
    large organ   2          1      left half
    small organ   2          2      right half
    cyst          1          3      inside the large organ

Three parts of intensity 2 have three labels, and a cyst is as bright as the body around the organs: size, position and
surroundings decide. A smooth bias field exp(b q(x)), with a random quadratic q, multiplies the intensities, and noise
is added. Slices are twice as thick as pixels are wide, as in many scans.
"""

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.data.augment.examples import VOID
from dlcore.data.source import Source, whole_numbers
from dlcore.ops.checks import check_shapes

__all__ = ["ORGANS", "SPACING", "best_intervals", "interval_dice", "planted_organs", "standardize"]

ORGANS = ("background", "large organ", "small organ", "cyst")
SPACING = (2.0, 1.0, 1.0)
"""(depth, height, width) of a voxel in mm."""
_LEAST = 8
"""Smallest side of a volume in voxels."""
_BINS = 64


@whole_numbers
def planted_organs(
    count: int, seed: int = 0, size: tuple[int, int, int] = (16, 24, 24), noise: float = 0.3, bias: float = 0.25
) -> Source:
    """Draw bodies with organs of random size and position.

    Args:
      count: N, number of volumes.
      seed: volume i of a seed is the same whatever `count`.
      size: (D, H, W) in voxels, each side at least 8.
      noise: standard deviation of the noise, at least 0; body and air differ by 1.
      bias: strength b of the bias field, at least 0.

    Returns:
      A source of `image: [N, D, H, W, 1] float32`, each volume of mean 0 and deviation 1, and
      `semantic: [N, D, H, W] uint8`, an index into ORGANS. A voxel has the sides SPACING.
    """
    check_shapes(count=(count, "int >= 1"))
    for side in size:
        check_whole_number("size", side)
    if len(size) != 3 or min(size) < _LEAST:
        raise ValueError(f"size={tuple(size)}: too small for organs; allowed: three sides of at least {_LEAST} voxels")
    for name, value in (("noise", noise), ("bias", bias)):
        if not 0 <= value < np.inf:
            raise ValueError(f"{name}={value}: out of range; allowed: a finite number from 0")
    image = np.empty((count, *size, 1), np.float32)
    semantic = np.empty((count, *size), np.uint8)
    for i in range(count):
        rng = np.random.default_rng((seed, i))
        intensity, semantic[i] = _body(rng, size)
        field = np.exp(bias * _quadratic(rng, size))
        image[i, ..., 0] = standardize(intensity * field + noise * rng.normal(size=size))
    return Source({"image": image, "semantic": semantic}, count, ORGANS, "planted organs")


def standardize(volume: np.ndarray) -> np.ndarray:
    """Give a volume the mean 0 and the deviation 1 in each channel; a constant channel becomes 0.

    Args:
      volume: [D, H, W] or [D, H, W, C].

    Returns:
      float32 of the same shape.
    """
    volume = np.asarray(volume, np.float64)
    if volume.ndim not in (3, 4) or not volume.size:
        raise ValueError(f"volume.shape={volume.shape}: no volume; allowed: [D, H, W] or [D, H, W, C]")
    deviation = volume.std((0, 1, 2))
    return ((volume - volume.mean((0, 1, 2))) / np.where(deviation > 0, deviation, 1)).astype(np.float32)


def _grid(size: tuple[int, int, int]) -> list[np.ndarray]:
    """Centers of voxels along each axis as fractions of half its length, in (-1, 1)."""
    return list(np.ix_(*((2 * np.arange(side) + 1) / side - 1 for side in size)))


def _body(rng: np.random.Generator, size: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Draw (intensity [D, H, W], labels [D, H, W]) without noise; lengths are fractions of half the volume."""
    grid = _grid(size)

    def ellipsoid(center: np.ndarray, radii: np.ndarray) -> np.ndarray:
        z, y, x = (((along - c) / r) ** 2 for along, c, r in zip(grid, center, radii, strict=True))
        return z + y + x <= 1

    def near(*values: float, spread: float = 0.06) -> np.ndarray:
        return np.asarray(values) + rng.uniform(-spread, spread, 3)

    large, large_radii = near(0, 0, -0.36), near(0.6, 0.58, 0.38)
    parts = (
        (ellipsoid(near(0, 0, 0, spread=0.02), near(0.94, 0.92, 0.92, spread=0.04)), 1, 0),
        (ellipsoid(near(0, 0.5, 0.02), np.array([3.0, 0.14, 0.14])), 2, 0),
        (ellipsoid(large, large_radii), 2, 1),
        (ellipsoid(near(0, -0.1, 0.48, spread=0.12), near(0.34, 0.32, 0.26)), 2, 2),
        (ellipsoid(large + rng.uniform(-0.35, 0.35, 3) * large_radii, near(0.24, 0.24, 0.2, spread=0.04)), 1, 3),
    )
    intensity, labels = np.zeros(size), np.zeros(size, np.uint8)
    body = parts[0][0]
    for inside, value, label in parts:
        intensity[inside & body], labels[inside & body] = value, label
    return intensity, labels


def _quadratic(rng: np.random.Generator, size: tuple[int, int, int]) -> np.ndarray:
    """Draw q: [D, H, W], a random sum of the coordinates and of their products, divided by its largest value."""
    z, y, x = _grid(size)
    terms = (z, y, x, z * y, z * x, y * x)
    field = sum(weight * term for weight, term in zip(rng.uniform(-1, 1, 6), terms, strict=True))
    return field / np.abs(field).max()


def best_intervals(source: Source) -> np.ndarray:
    """Find for each organ the interval of intensity that has the largest Dice coefficient, a rule without context.

    Args:
      source: source of `image`, of which the first channel counts, and `semantic`; void voxels do not count.

    Returns:
      [C - 1, 2], the lowest and the highest intensity of each organ, among 64 quantiles.
    """
    labels = source.arrays["semantic"]
    valid = labels != VOID
    values, labels = source.arrays["image"][..., 0][valid], labels[valid]
    edges = np.unique(np.quantile(values, np.linspace(0, 1, _BINS + 1)))
    bins = np.clip(np.searchsorted(edges, values, "right") - 1, 0, len(edges) - 2)
    before = np.concatenate([[0], np.cumsum(np.bincount(bins, minlength=len(edges) - 1))])
    intervals = []
    for organ in range(1, len(source.class_names)):
        hits = np.concatenate([[0], np.cumsum(np.bincount(bins[labels == organ], minlength=len(edges) - 1))])
        # Rows begin an interval, columns end it.
        overlap, size = hits[None] - hits[:, None], before[None] - before[:, None]
        dice = np.where(size > 0, 2 * overlap / np.maximum(size + hits[-1], 1), -1)
        low, high = np.unravel_index(dice.argmax(), dice.shape)
        intervals.append((edges[low], edges[high]))
    return np.asarray(intervals)


def interval_dice(source: Source, intervals: np.ndarray) -> float:
    """Measure the mean Dice coefficient of intervals of intensity, over volumes and over the organs that they hold.

    Args:
      source: source of `image` and `semantic`.
      intervals: [C - 1, 2], of `best_intervals`.

    Returns:
      The mean over organs of the mean over volumes.
    """
    count = max(len(source.class_names) - 1, 1) if source.class_names else len(intervals)
    check_shapes(intervals=(intervals, f"{count} 2"))
    if np.isnan(intervals).any():
        raise ValueError("intervals: hold NaN; allowed: the lowest and the highest intensity of each organ")
    means = []
    for organ, (low, high) in enumerate(intervals, 1):
        values = []
        for image, labels in zip(source.arrays["image"][..., 0], source.arrays["semantic"], strict=True):
            predicted = (image >= low) & (image <= high) & (labels != VOID)
            if total := int(predicted.sum() + (labels == organ).sum()):
                values.append(2 * int((predicted & (labels == organ)).sum()) / total)
        means += [np.mean(values)] if values else []
    if not means:
        raise ValueError(f"source={source.name!r}: holds no organ; allowed: volumes with organs")
    return float(np.mean(means))
