"""Homographies: the map between two images of a plane, or of anything from one center.

    (u', v', 1)ᵀ ~ H (u, v, 1)ᵀ,   two equations a point:  u' (h₃·x) = h₁·x,  v' (h₃·x) = h₂·x

Four points give H exactly; more by the normalized DLT: min |A h| with |h| = 1, in coordinates of mean 0 and mean
distance √2 (Hartley 1997, "In defense of the eight-point algorithm"), without which float32 loses 1e-2 pixels.
"""

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from dlcore.classical_vision.ransac import Consensus, ransac
from dlcore.ops.checks import check_finite, check_shapes, check_spread, check_weights
from dlcore.ops.grid_sample import bilinear_sample
from dlcore.ops.precision import acc_dtype_of, product, result_dtype, to_acc_dtype, to_namespace

__all__ = [
    "apply_homography",
    "fit_homography",
    "homography_from_four_points",
    "normalize_points",
    "ransac_homography",
    "rescale_homography",
    "solve_dlt",
    "warp_perspective",
]


def apply_homography(homography: jax.Array, points: jax.Array) -> jax.Array:
    """Map points.

    Args:
      homography: [3, 3].
      points: [..., 2].

    Returns:
      [..., 2]; NumPy's float64 where both are arrays of the host.
    """
    check_shapes(homography=(homography, "3 3"))
    check_shapes(points=(points, "... 2"))
    check_finite("points", points)
    _, homography, points = to_namespace(homography, points)
    mapped = product(points, homography[:, :2].T) + homography[:, 2]
    return mapped[..., :2] / mapped[..., 2:]


def homography_from_four_points(source: jax.Array, target: jax.Array) -> jax.Array:
    """Solve for the homography that maps four points exactly.

    Args:
      source: [4, 2], no three on a line.
      target: [4, 2], no three on a line.

    Returns:
      [3, 3] as of `rescale_homography`, NumPy's float64 of arrays of the host; NaN under jit where three points are on
      a line.
    """
    xp, source, target = to_namespace(source, target)
    if source.shape != (4, 2) or target.shape != (4, 2):
        raise ValueError(f"source.shape={source.shape}, target.shape={target.shape}: not four points; allowed: [4, 2]")
    is_degenerate = xp.zeros((), bool)
    for name, points in (("source", source), ("target", target)):
        if not isinstance(points, jax.core.Tracer):
            check_finite(name, points)
            if _three_on_a_line(np.asarray(points)):
                raise ValueError(
                    f"{name}={np.asarray(points).tolist()}: three on a line; allowed: four points, no three on a line"
                )
        is_degenerate |= _three_on_a_line(points)
    (p, to_p), (q, to_q) = normalize_points(source), normalize_points(target)
    square = xp.asarray([[-1.0, -1], [1, -1], [1, 1], [-1, 1]], source.dtype)
    p, q = (_projective_basis(xp.where(is_degenerate, square, points)) for points in (p, q))
    homography = _denormalize(product(q, xp.linalg.inv(p)), to_p, to_q)
    return xp.where(is_degenerate, xp.nan, homography)


def fit_homography(source: jax.Array, target: jax.Array, weights: jax.Array | None = None) -> jax.Array:
    """Fit a homography to four points or more by the normalized DLT.

    Args:
      source: [N, 2].
      target: [N, 2].
      weights: [N], 0 leaves a point out; None for ones.

    Returns:
      [3, 3] as of `rescale_homography`, NumPy's float64 of arrays of the host.
    """
    _, source, target, weights = to_namespace(source, target, weights)
    if source.shape != target.shape or source.ndim != 2 or source.shape[1] != 2 or len(source) < 4:
        raise ValueError(
            f"source.shape={source.shape}, target.shape={target.shape}: do not fit; allowed: both [N, 2], N at least 4"
        )
    for name, points in (("source", source), ("target", target)):
        check_finite(name, points)
        check_spread(name, points, 2, "points of which four are in general")
    check_weights(weights, 4)
    (p, to_p), (q, to_q) = normalize_points(source, weights), normalize_points(target, weights)
    return _denormalize(solve_dlt(p, q, weights), to_p, to_q)


def solve_dlt(source: jax.Array, target: jax.Array, weights: jax.Array | None = None) -> jax.Array:
    """Solve the direct linear transform: the matrix P with target ~ P (source, 1), up to scale.

    Args:
      source: [N, D], normalized.
      target: [N, 2], normalized.
      weights: [N]; None for ones.

    Returns:
      [3, D + 1], of norm 1 and any sign.
    """
    xp, source, target, weights = to_namespace(source, target, weights)
    p = xp.concatenate([source, xp.ones_like(source[:, :1])], 1)
    zero, scale = xp.zeros_like(p), 1.0 if weights is None else xp.sqrt(weights)[:, None]
    # Two equations a pair, homogeneous in the entries.
    first = xp.concatenate([p, zero, -target[:, :1] * p], 1) * scale
    second = xp.concatenate([zero, p, -target[:, 1:] * p], 1) * scale
    # A row of zeros makes room for the last singular vector of as many equations as unknowns.
    matrix = xp.concatenate([first, second, xp.zeros((1, first.shape[1]), first.dtype)])
    return xp.linalg.svd(matrix, full_matrices=False)[2][-1].reshape(3, -1)


def rescale_homography(homography: jax.Array) -> jax.Array:
    """Scale a homography as OpenCV does: the last entry is 1, but where it is 0 the norm is.

    Args:
      homography: [..., 3, 3].

    Returns:
      [..., 3, 3], the same map.
    """
    xp, homography = to_namespace(homography)
    homography = homography / xp.sqrt(xp.square(homography).sum((-2, -1), keepdims=True))
    last = homography[..., 2:, 2:]
    return homography / xp.where(abs(last) > 16 * xp.finfo(homography.dtype).eps, last, 1)


def _homography_residual(homography: jax.Array, pairs: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Distances [N] between mapped and target points in pixels, as of OpenCV's `findHomography`."""
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
    """
    xp, source, target = to_namespace(source, target)
    if source.shape != target.shape or source.ndim != 2 or source.shape[1] != 2:
        raise ValueError(f"source.shape={source.shape}, target.shape={target.shape}: do not fit; allowed: both [N, 2]")
    # On the host, points far from 0 are centered before they are cast to float32.
    counts = True if mask is None or xp is jnp else np.asarray(mask)[:, None] > 0
    has_center = xp is np and np.any(counts)
    centers = [points.mean(0, where=counts) if has_center else np.zeros(2) for points in (source, target)]
    consensus = ransac(
        key,
        tuple(to_acc_dtype(points - center) for points, center in zip((source, target), centers, strict=True)),
        lambda pairs: homography_from_four_points(*pairs),
        _homography_residual,
        sample_size=4,
        threshold=threshold,
        num_hypotheses=num_hypotheses,
        refit=lambda pairs, weights: fit_homography(*pairs, weights),
        mask=mask,
    )
    if xp is jnp:
        return consensus
    model = consensus.model if isinstance(consensus.model, jax.core.Tracer) else np.asarray(consensus.model)
    model = product(_shift(centers[1]), model, _shift(-centers[0]))
    return consensus._replace(model=rescale_homography(model))


def warp_perspective(image: jax.Array, homography: jax.Array, size: tuple[int, int]) -> tuple[jax.Array, jax.Array]:
    """Draw an image through a homography, by bilinear interpolation.

    Args:
      image: [H, W, C] float.
      homography: [3, 3], from pixels of `image` to pixels of the result.
      size: (rows, columns) of the result.

    Returns:
      (warped [*size, C], 0 outside; mask [*size] bool, where the image covers the result).
    """
    if image.ndim != 3 or homography.shape != (3, 3):
        raise ValueError(
            f"image.shape={image.shape}, homography.shape={homography.shape}: do not fit; allowed: [H, W, C] and [3, 3]"
        )
    check_finite("homography", homography)
    check_shapes(size=(np.asarray(size), "2"))
    rows, columns = size
    check_shapes(rows=(rows, "int >= 1"), columns=(columns, "int >= 1"))
    if not isinstance(homography, jax.core.Tracer) and np.linalg.matrix_rank(np.asarray(homography, np.float64)) < 3:
        raise ValueError(f"homography={np.asarray(homography).tolist()}: singular; allowed: a matrix with an inverse")
    dtype = acc_dtype_of(image)
    u, v = jnp.meshgrid(jnp.arange(columns, dtype=dtype), jnp.arange(rows, dtype=dtype))
    # Inverse warping: each pixel of the result looks up its source, so that none stays empty.
    xp, homography = to_namespace(homography)
    points = apply_homography(jnp.asarray(xp.linalg.inv(homography), dtype), jnp.stack([u, v], -1))
    height, width, _ = image.shape
    # Rounding takes a position at the border a little beyond it.
    slack = max(1e-3, 64 * float(jnp.finfo(dtype).eps) * max(height, width, rows, columns))
    last = jnp.array([width - 1, height - 1], dtype)
    mask = ((points >= -slack) & (points <= last + slack)).all(-1)
    inside = jnp.where(points < 0, 0, jnp.where(points > last, last, points))
    x, y = jnp.moveaxis(jnp.where(mask[..., None], inside, 0), -1, 0)
    warped = bilinear_sample(to_acc_dtype(image)[None], y[None], x[None])[0]
    return jnp.where(mask[..., None], warped, 0).astype(result_dtype(image)), mask


def normalize_points(points: jax.Array, weights: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
    """Move points to mean 0 and mean distance √2.

    Args:
      points: [N, D].
      weights: [N] of the mean; None for ones.

    Returns:
      (points [N, D], the matrix [D + 1, D + 1] that does so), NumPy's float64 of arrays of the host.
    """
    check_shapes(points=(points, "N D"), weights=(weights, "mask N or None"))
    xp, points, weights = to_namespace(points, weights)
    weights = xp.ones(len(points), points.dtype) if weights is None else weights
    weights = weights / xp.where(weights.sum() > 0, weights.sum(), 1)
    mean = (weights[:, None] * points).sum(0)
    squared = xp.square(points - mean).sum(-1)
    distance = (weights * xp.sqrt(xp.where(squared > 0, squared, 1)) * (squared > 0)).sum()
    # Scaling makes the equations well conditioned (Hartley 1997).
    scale = points.shape[1] ** 0.5 / xp.where(distance > 0, distance, 1)
    matrix = xp.diag(xp.append(xp.ones_like(mean) * scale, xp.ones_like(scale)))
    return (points - mean) * scale, product(matrix, _shift(-mean))


def _projective_basis(points: jax.Array) -> jax.Array:
    """[3, 3], to which the unit vectors and (1, 1, 1) are what the four points [4, 2] are to the image."""
    xp, points = to_namespace(points)
    columns = xp.concatenate([points, xp.ones_like(points[:, :1])], 1).T
    return columns[:, :3] * xp.linalg.solve(columns[:, :3], columns[:, 3:])[:, 0]


def _denormalize(homography: jax.Array, to_source: jax.Array, to_target: jax.Array) -> jax.Array:
    xp, to_target = to_namespace(to_target)
    return rescale_homography(product(xp.linalg.inv(to_target), homography, to_source))


def _shift(offset: jax.Array) -> jax.Array:
    """The matrix [D + 1, D + 1] of a translation by offset [D]."""
    xp, offset = to_namespace(offset)
    last = xp.append(offset, xp.ones_like(offset[:1]))[:, None]
    return xp.concatenate([xp.eye(len(offset) + 1, len(offset), dtype=offset.dtype), last], 1)


def _three_on_a_line(points: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
    """Return whether a triangle of three of the four has less than 1e-4 of the square of their extent for its area."""
    a, b, c = (points[np.array(i)] for i in ((0, 0, 0, 1), (1, 1, 2, 2), (2, 3, 3, 3)))
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    extent = ((points - points.mean(0)) ** 2).sum()
    return (abs(area) <= 1e-4 * extent).any()
