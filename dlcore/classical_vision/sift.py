"""SIFT: points of an image that are found again when it is turned, scaled or lit differently, each with 128 numbers.

Lowe 2004, "Distinctive image features from scale-invariant keypoints", IJCV 60.

    L(σ) = G(σ) * I,   D(σ) = L(kσ) - L(σ), k = 2^(1/3)            keypoints: extrema of D among 26 neighbors
    refined by a Newton step x̂ = -(∇²D)⁻¹ ∇D; kept where |D(x̂)| is large and tr(H)² / det(H) < (r + 1)² / r, r = 10
    orientation: peaks of a histogram of 36 gradient angles around the point, at least 0.8 of the highest, at most two
    descriptor: histograms of 8 angles in 4x4 cells of 3σ, turned to the orientation; normalized, cut at 0.2, normalized

The first octave is the image doubled. Images are gray in [0, 1], thresholds too. The result has a fixed number of rows
and a mask, so that it runs under jit and maps over a batch. Two deviations: gradients are sampled on a fixed grid of
16x16 points around each keypoint instead of at all pixels, and there is one Newton step, held to half a sample.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.ops.checks import check_finite
from dlcore.ops.filters import gaussian_filter
from dlcore.ops.precision import centered, to_acc_dtype

__all__ = ["Keypoints", "describe", "octave_keypoints", "sift"]

_SCALES = 3
_SIGMA = 1.6
_CELLS = 4
_SAMPLES = 16


class Keypoints(NamedTuple):
    """Keypoints of an image, the strongest first.

    Args:
      points: [count, 2], (column, row) in the image.
      sigmas: [count], scale in pixels.
      angles: [count], orientation in radians, from right to down.
      scores: [count], absolute difference of Gaussians.
      mask: [count] bool; False fills up to `count`, with zeros in all fields.
      descriptors: [count, 128], of norm 1.
    """

    points: jax.Array
    sigmas: jax.Array
    angles: jax.Array
    scores: jax.Array
    mask: jax.Array
    descriptors: jax.Array


def sift(
    image: jax.Array,
    count: int = 500,
    contrast_threshold: float = 0.04,
    edge_ratio: float = 10.0,
    octaves: int | None = None,
    double: bool = True,
) -> Keypoints:
    """Detect and describe keypoints.

    Args:
      image: [H, W] gray in [0, 1].
      count: number of rows of the result; a point with two orientations takes two.
      contrast_threshold: least contrast, divided by 3 for each of the 3 scales of an octave as in OpenCV.
      edge_ratio: largest ratio of the principal curvatures.
      octaves: number of octaves; None for as many as have at least 16 pixels per side.
      double: double the image first, which finds about four times as many points.

    Returns:
      Keypoints of `count` rows.
    """
    if image.ndim != 2 or min(image.shape) < 16 or not jnp.issubdtype(image.dtype, jnp.floating):
        raise ValueError(
            f"image={image.dtype}{list(image.shape)}: wrong type; allowed: floating [H, W], at least 16 pixels a side"
        )
    if count < 1 or not contrast_threshold > 0 or not edge_ratio >= 1 or (octaves is not None and octaves < 1):
        raise ValueError(
            f"count={count}, contrast_threshold={contrast_threshold}, edge_ratio={edge_ratio}, octaves={octaves}: "
            "out of range; allowed: at least 1, above 0, at least 1, at least 1"
        )
    if not isinstance(image, jax.core.Tracer):
        check_finite("image", image)
    # Differences alone count, of which large values would lose the digits.
    image, _ = centered(image, center=image.mean())
    base = _doubled(image) if double else image
    # The camera has blurred by half a pixel already, which doubling makes a whole one.
    base = gaussian_filter(base, math.sqrt(_SIGMA**2 - (1.0 if double else 0.5) ** 2))
    fitting = int(math.log2(min(base.shape) / 16)) + 1
    keypoints = []
    for octave in range(min(fitting, octaves or fitting)):
        levels = _octave(base)
        keypoints.append(
            octave_keypoints(levels, count, contrast_threshold / _SCALES, edge_ratio, 2.0 ** (octave - double))
        )
        base = levels[_SCALES, ::2, ::2]
    merged = Keypoints(*(jnp.concatenate(parts) for parts in zip(*keypoints, strict=True)))
    rows = min(count, len(merged.mask))
    order = jax.lax.top_k(jnp.where(merged.mask, merged.scores, -1), rows)[1]
    merged = Keypoints(*(x[order] for x in merged))
    # Rows that are no keypoints are 0; a small image has fewer candidates than `count`.
    merged = jax.tree.map(lambda x: jnp.where(merged.mask.reshape(-1, *[1] * (x.ndim - 1)), x, x.dtype.type(0)), merged)
    return Keypoints(*(jnp.pad(x, [(0, count - rows)] + [(0, 0)] * (x.ndim - 1)) for x in merged))


def octave_keypoints(
    levels: jax.Array, count: int, threshold: float = 0.04 / _SCALES, edge_ratio: float = 10.0, pixel: float = 1.0
) -> Keypoints:
    """Detect and describe the keypoints of one octave.

    Args:
      levels: [6, H, W], the image at blurs of 1.6 * 2^(s / 3) pixels.
      count: number of extrema, the strongest of those with contrast and without an edge; each has two rows for two
        orientations.
      threshold: least absolute difference of Gaussians.
      edge_ratio: largest ratio of the principal curvatures.
      pixel: side of a pixel of the octave in pixels of the image.

    Returns:
      Keypoints of 2 `count` rows, or fewer in a small octave, in no order.
    """
    levels = to_acc_dtype(levels)
    height, width = levels.shape[1:]
    # Extrema of the difference of Gaussians over space and scale.
    difference = levels[1:] - levels[:-1]
    window = (3, 3, 3)
    highest = jax.lax.reduce_window(difference, -jnp.inf, jax.lax.max, window, (1, 1, 1), "SAME")
    lowest = jax.lax.reduce_window(difference, jnp.inf, jax.lax.min, window, (1, 1, 1), "SAME")
    is_extremum = ((difference == highest) & (difference > 0)) | ((difference == lowest) & (difference < 0))
    border = 5 if min(height, width) > 20 else 2

    def moved(s: int, r: int, c: int) -> jax.Array:
        """The difference (s, r, c) further on, without the border of each axis."""
        return difference[
            1 + s : difference.shape[0] - 1 + s, border + r : height - border + r, border + c : width - border + c
        ]

    here, is_extremum = moved(0, 0, 0), is_extremum[1:-1, border:-border, border:-border]
    ahead, behind = ([moved(*(step * np.eye(3, dtype=int)[axis])) for axis in (2, 1, 0)] for step in (1, -1))
    gradient = jnp.stack([b - a for a, b in zip(behind, ahead, strict=True)], -1) / 2
    xx, yy, ss = (a + b - 2 * here for a, b in zip(behind, ahead, strict=True))
    xy = (moved(0, 1, 1) - moved(0, 1, -1) - moved(0, -1, 1) + moved(0, -1, -1)) / 4
    xs = (moved(1, 0, 1) - moved(1, 0, -1) - moved(-1, 0, 1) + moved(-1, 0, -1)) / 4
    ys = (moved(1, 1, 0) - moved(1, -1, 0) - moved(-1, 1, 0) + moved(-1, -1, 0)) / 4
    # Subpixel position: the extremum of a quadratic through the 27 values.
    offset = jnp.clip(_solve_symmetric(xx, yy, ss, xy, xs, ys, -gradient), -0.5, 0.5)
    value = jnp.abs(here + (gradient * offset).sum(-1) / 2)
    # Reject low contrast, and edges: their two curvatures differ much.
    determinant, trace = xx * yy - xy**2, xx + yy
    valid = is_extremum & (value >= threshold)
    valid &= (determinant > 0) & (trace**2 * edge_ratio < (edge_ratio + 1) ** 2 * determinant)
    # The strongest of the rest.
    value, index = jax.lax.top_k(jnp.where(valid, value, 0).ravel(), min(count, value.size))
    scale, row, column = jnp.unravel_index(index, valid.shape)
    scale, row, column, offset = scale + 1, row + border, column + border, offset.reshape(-1, 3)[index]
    points = jnp.stack([column, row], -1) + offset[:, :2]
    sigmas = _SIGMA * 2 ** ((scale + offset[:, 2]) / _SCALES)
    level = jnp.round(scale + offset[:, 2]).astype(jnp.int32)
    angles, has_angle = _orientations(levels, points, level, sigmas)  # [N, 2]
    # A point with two dominant orientations counts twice.
    points, sigmas, level, value = (jnp.repeat(x, 2, 0) for x in (points, sigmas, level, value))
    mask = ((value[::2] > 0)[:, None] & has_angle).ravel()
    descriptors = describe(levels, points, level, sigmas, angles.ravel())
    return Keypoints(points * pixel, sigmas * pixel, angles.ravel(), value, mask, descriptors)


def describe(levels: jax.Array, points: jax.Array, level: jax.Array, sigmas: jax.Array, angles: jax.Array) -> jax.Array:
    """Describe points of one octave.

    Args:
      levels: [S, H, W], the image at several blurs.
      points: [N, 2], (column, row).
      level: [N] int, which of the blurs is nearest to each point's scale.
      sigmas: [N], scales in pixels.
      angles: [N], orientations in radians.

    Returns:
      [N, 128] in the order (row of cells, column of cells, angle), of norm 1.
    """
    levels, points, sigmas, angles = map(to_acc_dtype, (levels, points, sigmas, angles))
    # The grid spans 4 cells of 3 sigma; its middle is the point.
    grid = (np.arange(_SAMPLES) + 0.5) / _SAMPLES - 0.5
    x, y = (g.ravel().astype(np.float32) for g in np.meshgrid(grid, grid))
    extent = 3 * _CELLS * sigmas[:, None]
    cos, sin = jnp.cos(angles)[:, None], jnp.sin(angles)[:, None]
    columns = points[:, :1] + extent * (cos * x - sin * y)
    rows = points[:, 1:] + extent * (sin * x + cos * y)
    right, down = _sample_gradients(levels, level, rows, columns)
    # Gradients in the turned axes.
    along, across = cos * right + sin * down, -sin * right + cos * down
    magnitude = jnp.sqrt(along**2 + across**2 + 1e-20)
    magnitude *= jnp.exp(-(x**2 + y**2) / (2 * 0.5**2))
    votes = _angle_votes(jnp.arctan2(across, along), 8) * magnitude[..., None]
    centers = (np.arange(_CELLS) + 0.5) / _CELLS - 0.5
    weights = np.maximum(0, 1 - np.abs(grid[:, None] - centers) * _CELLS).astype(np.float32)
    cells = (weights[:, None, :, None] * weights[None, :, None]).reshape(_SAMPLES**2, _CELLS**2)
    histograms = jnp.einsum("nso,sc->nco", votes, cells, precision=jax.lax.Precision.HIGHEST).reshape(len(points), -1)

    def normalize(v: jax.Array) -> jax.Array:
        return v / jnp.sqrt(jnp.square(v).sum(-1, keepdims=True) + 1e-12)

    return normalize(jnp.minimum(normalize(histograms), 0.2))


def _doubled(image: jax.Array) -> jax.Array:
    """[2 H - 1, 2 W - 1] by linear interpolation: pixel i is pixel 2 i of the result."""
    for axis in (0, 1):
        before = jax.lax.slice_in_dim(image, 0, image.shape[axis] - 1, axis=axis)
        after = jax.lax.slice_in_dim(image, 1, image.shape[axis], axis=axis)
        pairs = jnp.stack([before, (before + after) / 2], axis + 1).reshape(
            [2 * n if a == axis else n for a, n in enumerate(before.shape)]
        )
        image = jnp.concatenate([pairs, jax.lax.slice_in_dim(image, image.shape[axis] - 1, None, axis=axis)], axis)
    return image


def _octave(base: jax.Array) -> jax.Array:
    """[6, H, W]: blurs of 1.6 * 2^(s / 3), each from the last."""
    levels, step = [base], 2 ** (1 / _SCALES)
    for s in range(1, _SCALES + 3):
        before = _SIGMA * step ** (s - 1)
        levels.append(gaussian_filter(levels[-1], before * math.sqrt(step**2 - 1)))
    return jnp.stack(levels)


def _orientations(levels, points, level, sigmas):
    """(angles [N, 2], mask [N, 2]): the highest peaks of a histogram of 36 gradient angles."""
    grid = np.linspace(-3, 3, 13, dtype=np.float32)
    x, y = (g.ravel() for g in np.meshgrid(grid, grid))
    # The Gaussian window has 1.5 times the scale of the point and ends at three deviations.
    radius = 1.5 * sigmas[:, None]
    right, down = _sample_gradients(levels, level, points[:, 1:] + radius * y, points[:, :1] + radius * x)
    magnitude = jnp.sqrt(right**2 + down**2 + 1e-20) * (np.exp(-(x**2 + y**2) / 2) * (x**2 + y**2 <= 9))
    votes = _angle_votes(jnp.arctan2(down, right), 36)
    histogram = jnp.einsum("ns,nsb->nb", magnitude, votes, precision=jax.lax.Precision.HIGHEST)
    for _ in range(2):
        histogram = (jnp.roll(histogram, 1, 1) + histogram + jnp.roll(histogram, -1, 1)) / 3
    before, after = jnp.roll(histogram, 1, 1), jnp.roll(histogram, -1, 1)
    peaks = jnp.where((histogram > before) & (histogram >= after), histogram, 0)
    heights, bins = jax.lax.top_k(peaks, 2)
    before, here, after = (jnp.take_along_axis(h, bins, 1) for h in (before, histogram, after))
    curvature = before - 2 * here + after
    shift = (before - after) / 2 / jnp.where(curvature < 0, curvature, -1)
    return (bins + shift) * (2 * jnp.pi / 36), (heights > 0) & (heights >= 0.8 * heights[:, :1])


def _angle_votes(angles: jax.Array, bins: int) -> jax.Array:
    """[..., bins]: shares of the two nearest bins, whose centers are at multiples of a turn / bins."""
    position = (angles * (bins / (2 * np.pi))) % bins
    distance = jnp.abs(position[..., None] - jnp.arange(bins))
    return jnp.maximum(0, 1 - jnp.minimum(distance, bins - distance))


def _sample_gradients(levels, level, rows, columns):
    """(right, down) [N, S]: central differences at the nearest pixels of each point's level; 0 outside."""
    _, height, width = levels.shape
    inside = (rows >= 1) & (rows <= height - 2) & (columns >= 1) & (columns <= width - 2)
    row = jnp.clip(jnp.round(rows), 1, height - 2).astype(jnp.int32)
    column = jnp.clip(jnp.round(columns), 1, width - 2).astype(jnp.int32)
    index = (level[:, None] * height + row) * width + column
    flat = levels.reshape(-1)

    def slope(step: int) -> jax.Array:
        return jnp.where(inside, flat[index + step] - flat[index - step], 0) / 2

    return slope(1), slope(width)


def _solve_symmetric(xx, yy, ss, xy, xs, ys, right):
    """Solve [[xx, xy, xs], [xy, yy, ys], [xs, ys, ss]] v = right [..., 3] by the adjugate; 0 where it is singular."""
    c00, c01, c02 = yy * ss - ys**2, xs * ys - xy * ss, xy * ys - xs * yy
    c11, c12, c22 = xx * ss - xs**2, xy * xs - xx * ys, xx * yy - xy**2
    determinant = xx * c00 + xy * c01 + xs * c02
    x, y, s = jnp.moveaxis(right, -1, 0)
    product = jnp.stack([c00 * x + c01 * y + c02 * s, c01 * x + c11 * y + c12 * s, c02 * x + c12 * y + c22 * s], -1)
    solvable = (determinant != 0)[..., None]
    return jnp.where(solvable, product / jnp.where(solvable, determinant[..., None], 1), 0)
