"""Homographies: the map between two images of a plane, or of anything from one center.

    (u', v', 1)ᵀ ~ H (u, v, 1)ᵀ,   two equations a point:  u' (h₃·x) = h₁·x,  v' (h₃·x) = h₂·x

Four points give H exactly; more by the normalized DLT: min |A h| with |h| = 1, in coordinates of mean 0 and mean
distance √2 (Hartley 1997, "In defense of the eight-point algorithm"), without which float32 loses 1e-2 pixels.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.classical_vision.ransac import Consensus, ransac
from dlcore.ops.checks import check_finite, check_shapes, check_spread
from dlcore.ops.grid_sample import bilinear_sample

__all__ = [
    "apply_homography",
    "fit_homography",
    "homography_from_four_points",
    "normalize_points",
    "ransac_homography",
    "warp_perspective",
]


def apply_homography(homography: jax.Array, points: jax.Array) -> jax.Array:
    """Map points.

    Args:
      homography: [3, 3].
      points: [..., 2].

    Returns:
      [..., 2].

    Raises:
      ValueError: the shapes do not fit, or a point is not finite.
    """
    check_shapes(homography=(homography, "3 3"))
    check_shapes(points=(points, "... 2"))
    check_finite("points", points)
    mapped = jnp.matmul(points, homography[:, :2].T, precision=jax.lax.Precision.HIGHEST) + homography[:, 2]
    return mapped[..., :2] / mapped[..., 2:]


def homography_from_four_points(source: jax.Array, target: jax.Array) -> jax.Array:
    """Solve for the homography that maps four points exactly.

    Args:
      source: [4, 2], no three on a line.
      target: [4, 2], no three on a line.

    Returns:
      [3, 3] with the last entry 1; NaN under jit where three points are on a line.

    Raises:
      ValueError: there are not four points, one is not finite, or three are on a line.
    """
    source, target = jnp.asarray(source), jnp.asarray(target)
    if source.shape != (4, 2) or target.shape != (4, 2):
        raise ValueError(f"source.shape={source.shape}, target.shape={target.shape}: not four points; allowed: [4, 2]")
    is_degenerate = jnp.zeros((), bool)
    for name, points in (("source", source), ("target", target)):
        if not isinstance(points, jax.core.Tracer):
            check_finite(name, points)
            if _three_on_a_line(np.asarray(points)):
                raise ValueError(
                    f"{name}={np.asarray(points).tolist()}: three on a line; allowed: four points, no three on a line"
                )
        is_degenerate |= _three_on_a_line(points)
    (p, to_p), (q, to_q) = normalize_points(source), normalize_points(target)
    # Two linear equations a point for eight entries; the ninth is 1.
    equations, zero, one = [], jnp.zeros(4, p.dtype), jnp.ones(4, p.dtype)
    for i in range(2):
        xy1, other = [p[:, 0], p[:, 1], one], [zero, zero, zero]
        first = xy1 + other if i == 0 else other + xy1
        equations.append(jnp.stack([*first, -q[:, i] * p[:, 0], -q[:, i] * p[:, 1]], 1))
    matrix = jnp.where(is_degenerate, jnp.eye(8, dtype=p.dtype), jnp.concatenate(equations))
    solution = jnp.linalg.solve(matrix, jnp.concatenate([q[:, 0], q[:, 1]])[:, None])[:, 0]
    homography = _denormalize(jnp.append(solution, 1).reshape(3, 3), to_p, to_q)
    return jnp.where(is_degenerate, jnp.nan, homography)


def fit_homography(source: jax.Array, target: jax.Array, weights: jax.Array | None = None) -> jax.Array:
    """Fit a homography to four points or more by the normalized DLT.

    Args:
      source: [N, 2].
      target: [N, 2].
      weights: [N], 0 leaves a point out; None for ones.

    Returns:
      [3, 3] with the last entry 1.

    Raises:
      ValueError: there are fewer than four points, one is not finite, or all of a side are on a line; a weight is
        negative.
    """
    source, target = jnp.asarray(source), jnp.asarray(target)
    if source.shape != target.shape or source.ndim != 2 or source.shape[1] != 2 or len(source) < 4:
        raise ValueError(
            f"source.shape={source.shape}, target.shape={target.shape}: do not fit; allowed: both [N, 2], N at least 4"
        )
    for name, points in (("source", source), ("target", target)):
        check_finite(name, points)
        check_spread(name, points, 2, "points of which four are in general")
    (p, to_p), (q, to_q) = normalize_points(source, weights), normalize_points(target, weights)
    p = jnp.concatenate([p, jnp.ones_like(p[:, :1])], 1)
    zero = jnp.zeros_like(p)
    # DLT: two equations a pair, homogeneous in the nine entries.
    rows = (
        jnp.concatenate([p, zero, -q[:, :1] * p], 1),
        jnp.concatenate([zero, p, -q[:, 1:] * p], 1),
    )
    scale = 1.0 if weights is None else jnp.sqrt(weights)[:, None]
    # A row of zeros makes room for the ninth singular vector of four points.
    matrix = jnp.concatenate([rows[0] * scale, rows[1] * scale, jnp.zeros((1, 9), p.dtype)])
    vector = jnp.linalg.svd(matrix, full_matrices=False)[2][-1]
    return _denormalize(vector.reshape(3, 3), to_p, to_q)


def _homography_residual(homography: jax.Array, pairs: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Distances between mapped and target points, as of OpenCV's `findHomography`.

    Args:
      homography: [3, 3].
      pairs: (source [N, 2], target [N, 2]).

    Returns:
      [N], in pixels of the target.
    """
    return jnp.sqrt(jnp.square(apply_homography(homography, pairs[0]) - pairs[1]).sum(-1))


def ransac_homography(
    key: jax.Array,
    source: jax.Array,
    target: jax.Array,
    threshold: float = 2.0,
    num_hypotheses: int = 500,
    mask: jax.Array | None = None,
) -> Consensus:
    """Find the homography that most pairs of points follow.

    Args:
      key: PRNG key.
      source: [N, 2].
      target: [N, 2].
      threshold: largest distance of an inlier from its target, in pixels.
      num_hypotheses: number of samples of four pairs.
      mask: [N] bool, which pairs count; None for all.

    Returns:
      The consensus; its model is [3, 3].

    Raises:
      ValueError: the shapes do not fit.
    """
    if source.shape != target.shape or source.ndim != 2 or source.shape[1] != 2:
        raise ValueError(f"source.shape={source.shape}, target.shape={target.shape}: do not fit; allowed: both [N, 2]")
    return ransac(
        key,
        (source, target),
        lambda pairs: homography_from_four_points(*pairs),
        _homography_residual,
        sample_size=4,
        threshold=threshold,
        num_hypotheses=num_hypotheses,
        refit=lambda pairs, weights: fit_homography(*pairs, weights),
        mask=mask,
    )


def warp_perspective(image: jax.Array, homography: jax.Array, size: tuple[int, int]) -> tuple[jax.Array, jax.Array]:
    """Draw an image through a homography, by bilinear interpolation.

    Args:
      image: [H, W, C] float.
      homography: [3, 3], from pixels of `image` to pixels of the result.
      size: (rows, columns) of the result.

    Returns:
      (warped [*size, C], 0 outside; mask [*size] bool, where the image covers the result).

    Raises:
      ValueError: the image is not [H, W, C] or the homography not [3, 3], not finite or singular; a side of `size` is
        below 1.
    """
    if image.ndim != 3 or homography.shape != (3, 3):
        raise ValueError(
            f"image.shape={image.shape}, homography.shape={homography.shape}: do not fit; allowed: [H, W, C] and [3, 3]"
        )
    check_finite("homography", homography)
    check_shapes(size=(np.asarray(size), "2"))
    rows, columns = size
    check_shapes(rows=(rows, "int >= 1"), columns=(columns, "int >= 1"))
    if not isinstance(homography, jax.core.Tracer) and np.linalg.matrix_rank(np.asarray(homography)) < 3:
        raise ValueError(f"homography={np.asarray(homography).tolist()}: singular; allowed: a matrix with an inverse")
    u, v = jnp.meshgrid(jnp.arange(columns, dtype=image.dtype), jnp.arange(rows, dtype=image.dtype))
    # Inverse warping: each pixel of the result looks up its source, so that none stays empty.
    points = apply_homography(jnp.linalg.inv(homography), jnp.stack([u, v], -1))
    x, y = points[..., 0], points[..., 1]
    mask = (x >= 0) & (x <= image.shape[1] - 1) & (y >= 0) & (y <= image.shape[0] - 1)
    x, y = jnp.where(mask, x, 0), jnp.where(mask, y, 0)
    warped = bilinear_sample(image[None], y[None], x[None])[0]
    return jnp.where(mask[..., None], warped, 0), mask


def normalize_points(points: jax.Array, weights: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
    """Move points to mean 0 and mean distance √2.

    Args:
      points: [N, D].
      weights: [N] of the mean; None for ones.

    Returns:
      (points [N, D], the matrix [D + 1, D + 1] that does so).

    Raises:
      ValueError: the shapes do not fit, or a weight is negative.
    """
    dimensions = points.shape[1]
    check_shapes(points=(points, "N D"), weights=(weights, "mask N or None"))
    weights = jnp.ones(len(points), points.dtype) if weights is None else weights
    total = jnp.maximum(weights.sum(), 1e-9)
    mean = (weights[:, None] * points).sum(0) / total
    squared = jnp.square(points - mean).sum(-1)
    distance = (weights * jnp.sqrt(jnp.where(squared > 0, squared, 1)) * (squared > 0)).sum() / total
    # Scaling makes the equations well conditioned (Hartley 1997).
    scale = jnp.sqrt(dimensions * 1.0).astype(points.dtype) / jnp.where(distance > 0, distance, 1)
    matrix = jnp.diag(jnp.append(jnp.full(dimensions, scale), 1)).at[:dimensions, dimensions].set(-scale * mean)
    return (points - mean) * scale, matrix.astype(points.dtype)


def _denormalize(homography: jax.Array, to_source: jax.Array, to_target: jax.Array) -> jax.Array:
    product = jnp.linalg.inv(to_target) @ homography @ to_source
    return product / product[2, 2]


def _three_on_a_line(points: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
    """Return whether a triangle of three of the four has less than 1e-4 of the square of their extent for its area."""
    a, b, c = (points[np.array(i)] for i in ((0, 0, 0, 1), (1, 1, 2, 2), (2, 3, 3, 3)))
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    extent = ((points - points.mean(0)) ** 2).sum()
    return (abs(area) <= 1e-4 * extent).any()
