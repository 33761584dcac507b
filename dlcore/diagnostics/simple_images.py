"""Simple features of images and clips: motion by correlation, shapes by regions.

They are rows of numbers for the classifiers of `dlcore.diagnostics.simple_methods`.
"""

from typing import Any

import numpy as np

from dlcore.ops.checks import check_finite, check_shapes

__all__ = ["REGION_NUMBERS", "centered", "motion_correlogram", "point_histograms", "region_features"]

REGION_NUMBERS = 56
"""Numbers of a region, see `region_features`."""
_SECTORS, _RINGS = 32, 12


def motion_correlogram(clips: np.ndarray, reach: int = 6) -> np.ndarray:
    """Correlate what moves in each frame with what moves in the next, at all shifts.

    c(i, j) = sum over t, y and x of d_t(y, x) d_{t+1}(y + i, x + j), with d_t = |x_t - the median frame|, is largest at
    the shift of a shape from frame to frame. Frames wrap around.

    Args:
      clips: [N, T, H, W, C], real, at least 2 frames.
      reach: the longest shift along each axis, in pixels.

    Returns:
      [N, (2 reach + 1)^2] float32, rows of sum 1.
    """
    check_shapes(clips=(clips, "N T H W C"), reach=(reach, "int >= 1"))
    if clips.shape[1] < 2 or 2 * reach >= min(clips.shape[2:4]):
        raise ValueError(f"clips={clips.shape}: too small; allowed: 2 frames, and sides above 2 reach = {2 * reach}")
    sums = []
    for clip in clips:
        clip = np.asarray(clip, np.float32)
        moving = np.abs(clip - np.median(clip, 0)).sum(-1)
        transform = np.fft.rfft2(moving)
        both = np.fft.irfft2((transform[:-1].conj() * transform[1:]).sum(0), moving.shape[1:])
        shifts = np.arange(-reach, reach + 1)
        part = both[np.ix_(shifts % both.shape[0], shifts % both.shape[1])].clip(0).reshape(-1)
        sums.append(part / max(part.sum(), 1e-12))
    return np.array(sums, np.float32).reshape(len(clips), -1)


def centered(images: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Roll images that wrap around, so that the center of their weights lies in the middle.

    The center of an axis is the angle of the sum of weights times e^(2 pi i x / size), which no border disturbs.

    Args:
      images: [N, H, W, C].
      weights: [N, H, W], at least 0.

    Returns:
      [N, H, W, C].
    """
    check_shapes(images=(images, "N H W C"), weights=(weights, "N H W"))
    check_finite("weights", weights)
    rolled = []
    for image, weight in zip(images, weights, strict=True):
        shifts = []
        for axis, size in enumerate(weight.shape):
            circle = np.exp(2j * np.pi * np.arange(size) / size)
            center = np.angle((weight.sum(1 - axis) * circle).sum()) * size / (2 * np.pi)
            shifts.append(size // 2 - round(float(center)))
        rolled.append(np.roll(image, shifts, (0, 1)))
    return np.stack(rolled)


def region_features(labels: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Describe the shape of regions by numbers that neither place nor angle changes, and their contrast.

    The numbers: area, share of the convex hull, ratio of the axes, extent, holes, edges^2 / area, pixels of the holes,
    pixels on the border of the image, Hu's 7 moments (fourth roots), shares of the area within 12 distances from the
    center, 16 frequencies of the farthest distance by angle, that distance's least, mean and deviation, 8 of its
    quantiles, and spread and contrast of the colors.

    Args:
      labels: [H, W] int, numbers of regions from 0, each of a part that hangs together.
      image: [H, W, 3].

    Returns:
      [R, 56] float32.
    """
    from scipy.ndimage import binary_dilation, binary_fill_holes, find_objects, label

    check_shapes(labels=(labels, "H W"), image=(image, "H W 3"))
    pixels, labels, margin = np.asarray(image, np.float32) / 255, np.pad(np.asarray(labels) + 1, 3), 3
    pixels = np.pad(pixels, ((margin, margin), (margin, margin), (0, 0)))
    height, width = (side - 2 * margin for side in labels.shape)
    rows = []
    for number, location in enumerate(find_objects(labels), 1):
        if location is None:
            raise ValueError(f"labels: none is {number - 1}; allowed: all numbers below the largest")
        near = tuple(slice(part.start - margin, part.stop + margin) for part in location)
        mask = labels[near] == number
        y, x = np.nonzero(mask)
        area = len(y)
        filled = np.asarray(binary_fill_holes(mask))
        holes: Any = label(filled & ~mask)
        edges = np.abs(np.diff(mask, axis=0)).sum() + np.abs(np.diff(mask, axis=1)).sum()
        row, column = y + near[0].start - margin, x + near[1].start - margin
        border = (row == 0) | (row == height - 1) | (column == 0) | (column == width - 1)
        v, u = y - y.mean(), x - x.mean()
        spread = np.sqrt(np.linalg.eigvalsh(np.cov(u, v, bias=True) + np.eye(2) / 12))
        far = np.hypot(u, v) / np.sqrt(area / np.pi)
        sector = np.minimum(((np.arctan2(v, u) + np.pi) / (2 * np.pi) * _SECTORS).astype(int), _SECTORS - 1)
        outline = np.zeros(_SECTORS)
        np.maximum.at(outline, sector, far)
        ring = binary_dilation(mask, iterations=2) & ~mask & (labels[near] > 0)
        inside, outside = pixels[near][mask], pixels[near][ring if ring.any() else mask]
        hu = _hu_moments(u / np.sqrt(area), v / np.sqrt(area), area)
        rows.append(
            np.concatenate(
                [
                    [area / (height * width), area / _hull_area(y, x), spread[0] / spread[1]],
                    [area / (np.ptp(y) + 1) / (np.ptp(x) + 1), holes[1], edges**2 / area],
                    [filled.sum() / area - 1, border.sum() / np.sqrt(area)],
                    np.sign(hu) * np.abs(hu) ** 0.25,
                    (far[:, None] < np.linspace(0.2, 1.8, _RINGS)).mean(0),
                    np.abs(np.fft.rfft(outline))[: _SECTORS // 2] / _SECTORS,
                    [outline.min(), outline.mean(), outline.std()],
                    np.sort(outline)[2 :: _SECTORS // 8],
                    [inside.std(0).mean(), np.abs(inside.mean(0) - outside.mean(0)).mean()],
                ]
            )
        )
    return np.array(rows, np.float32).reshape(-1, REGION_NUMBERS)


def _hull_area(y: np.ndarray, x: np.ndarray) -> float:
    """Area of the convex hull of pixels, of their corners."""
    from scipy.spatial import ConvexHull

    _, first, counts = np.unique(y, return_index=True, return_counts=True)  # pixels come row by row
    endpoints = np.concatenate([np.stack([y[at], x[at] + j], 1) for at, j in ((first, 0), (first + counts - 1, 1))])
    corners = np.concatenate([endpoints, endpoints + np.array([1, 0])])
    return float(ConvexHull(corners).volume)


def _hu_moments(u: np.ndarray, v: np.ndarray, area: int) -> np.ndarray:
    """Hu's 7 moments of pixels with centered coordinates of unit area (Hu 1962)."""
    e = {(i, j): (u**i * v**j).sum() / area for i in range(4) for j in range(4 - i)}
    a, b = e[3, 0] + e[1, 2], e[2, 1] + e[0, 3]
    c, d = e[3, 0] - 3 * e[1, 2], 3 * e[2, 1] - e[0, 3]
    return np.array(
        [
            e[2, 0] + e[0, 2],
            (e[2, 0] - e[0, 2]) ** 2 + 4 * e[1, 1] ** 2,
            c**2 + d**2,
            a**2 + b**2,
            c * a * (a**2 - 3 * b**2) + d * b * (3 * a**2 - b**2),
            (e[2, 0] - e[0, 2]) * (a**2 - b**2) + 4 * e[1, 1] * a * b,
            d * a * (a**2 - 3 * b**2) - c * b * (3 * a**2 - b**2),
        ]
    )


def point_histograms(points: np.ndarray) -> np.ndarray:
    """Describe a cloud of points, such as those of a solid, by histograms that no turn about the third axis changes.

    Args:
      points: [P, 3] float, at least 4.

    Returns:
      [86] float32: spreads along the principal axes and the size; of the third coordinate, and of the distance from the
      center, from the vertical through it and between points, 10 shares each; and of the coordinates along the
      principal axes and the distances from these, 7 each, with the skewed side first.
    """
    check_shapes(points=(points, "P 3"))
    check_finite("points", points)
    if len(points) < 4:
        raise ValueError(f"points={len(points)}: too few; allowed: at least 4")
    points = np.asarray(points, np.float64) - np.mean(points, 0)
    size = max(np.sqrt(np.square(points).sum(1).mean()), 1e-9)
    points = points / size
    values, axes = np.linalg.eigh(np.cov(points.T, bias=True))
    along = points @ axes
    along *= np.where((along**3).sum(0) < 0, -1, 1)
    pairs = np.random.default_rng(0).integers(len(points), size=(2, 2000))

    def fractions(numbers: np.ndarray, bins: int, low: float, high: float) -> np.ndarray:
        return np.histogram(numbers.clip(low, high), bins, (low, high))[0] / len(numbers)

    far = np.linalg.norm(points, axis=1)
    parts = [np.sqrt(values.clip(0)), [np.log(size)]]
    parts += [
        fractions(points[:, 2], 10, -2, 2),
        fractions(far, 10, 0, 2),
        fractions(np.hypot(*points[:, :2].T), 10, 0, 2),
    ]
    parts += [fractions(np.linalg.norm(points[pairs[0]] - points[pairs[1]], axis=1), 10, 0, 4)]
    parts += [fractions(column, 7, -2, 2) for column in along.T]
    parts += [fractions(np.sqrt((far**2 - column**2).clip(0)), 7, 0, 2) for column in along.T]
    return np.concatenate(parts).astype(np.float32)
