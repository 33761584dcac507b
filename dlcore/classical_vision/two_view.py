"""Two-view geometry: triangulation, the essential matrix, and structure from motion.

    x₂ᵀ E x₁ = 0 with E = [t]ₓ R, on normalized coordinates x of both images          (x₂ᵀ F x₁ = 0 on pixels)
    E: 8-point algorithm, singular values set to (1, 1, 0);   E = U diag(1, 1, 0) Vᵀ gives four (R, t)
    of which one has the points in front of both cameras;   A X = 0 of rows x P₃ - P₁, y P₃ - P₂ gives each point

The scale of the scene cannot be known: |t| = 1. Longuet-Higgins 1981, "A computer algorithm for reconstructing a scene
from two projections"; Hartley & Zisserman 2004, chapters 9 to 12.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from dlcore.classical_vision.homography import normalize_points
from dlcore.classical_vision.ransac import Consensus, ransac
from dlcore.ops.camera import pixels_to_plane
from dlcore.ops.checks import check_finite, check_shapes, check_spread, check_weights
from dlcore.ops.precision import product, to_acc_dtype, to_namespace

__all__ = [
    "Structure",
    "essential_poses",
    "fit_essential",
    "ransac_essential",
    "sampson_distance",
    "structure_from_motion",
    "triangulate",
]


class Structure(NamedTuple):
    """Relative pose and points of two images, in the coordinates of the first camera.

    Args:
      rotation: [3, 3], from the first camera to the second.
      translation: [3], of length 1; 0 where the camera only turned or stood still, which leaves no points.
      points: [N, 3]; means nothing where the mask is False.
      mask: [N] bool, inliers in front of both cameras, near enough that they move more than 1.77 times the threshold
        between the images once these are turned alike.
    """

    rotation: jax.Array
    translation: jax.Array
    points: jax.Array
    mask: jax.Array


def triangulate(cameras: jax.Array, pixels: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Locate points by their images in two views or more, by the DLT, as OpenCV's `triangulatePoints`.

    Args:
      cameras: [V, 3, 4], V at least 2.
      pixels: [V, N, 2].
      mask: [V, N] bool, where a view shows a point; None for everywhere.

    Returns:
      [N, 3], NumPy's float64 of arrays of the host; not finite for points at infinity.
    """
    xp, cameras, pixels = to_namespace(cameras, pixels)
    if cameras.shape[1:] != (3, 4) or pixels.shape[::2] != (len(cameras), 2) or len(cameras) < 2:
        raise ValueError(
            f"cameras.shape={cameras.shape}, pixels.shape={pixels.shape}: do not fit; allowed: [V, 3, 4] and "
            "[V, N, 2], V at least 2"
        )
    check_shapes(pixels=(pixels, "V N 2"), mask=(mask, "V N or None"))
    check_finite("cameras", cameras)
    check_finite("pixels", pixels)
    rows = pixels[..., None] * cameras[:, None, 2:] - cameras[:, None, :2]  # [V, N, 2, 4]
    rows = rows if mask is None else rows * xp.asarray(mask)[..., None, None]
    matrices = xp.moveaxis(rows, 1, 0).reshape(pixels.shape[1], -1, 4)
    points = xp.linalg.svd(matrices, full_matrices=False)[2][:, -1]
    return points[:, :3] / points[:, 3:]


def fit_essential(first: jax.Array, second: jax.Array, weights: jax.Array | None = None) -> jax.Array:
    """Fit an essential matrix by the normalized 8-point algorithm.

    Args:
      first: [N, 2], normalized coordinates (`pixels_to_plane`), N at least 8.
      second: [N, 2].
      weights: [N], 0 leaves a pair out; None for ones.

    Returns:
      [3, 3] with the singular values 1, 1 and 0.
    """
    first, second = to_acc_dtype(first), to_acc_dtype(second)
    if first.shape != second.shape or first.ndim != 2 or first.shape[1] != 2 or len(first) < 8:
        raise ValueError(
            f"first.shape={first.shape}, second.shape={second.shape}: do not fit; allowed: both [N, 2], N at least 8"
        )
    for name, points in (("first", first), ("second", second)):
        check_finite(name, points)
        check_spread(name, points, 2, "pixels all over the image")
    check_weights(weights, 8)
    (p, to_p), (q, to_q) = normalize_points(first, weights), normalize_points(second, weights)
    p, q = _homogeneous(p), _homogeneous(q)
    # One equation a pair, qᵀ E p = 0.
    rows = (q[:, :, None] * p[:, None]).reshape(-1, 9)
    rows = rows if weights is None else rows * jnp.sqrt(weights)[:, None]
    # A row of zeros makes room for the ninth singular vector of eight pairs.
    vector = jnp.linalg.svd(jnp.concatenate([rows, jnp.zeros((1, 9), rows.dtype)]), full_matrices=False)[2][-1]
    # The nearest essential matrix has two equal singular values and a 0.
    u, _, vt = jnp.linalg.svd(to_q.T @ vector.reshape(3, 3) @ to_p)
    return (u * jnp.array([1, 1, 0], u.dtype)) @ vt


def sampson_distance(matrix: jax.Array, pairs: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Distance of pairs from epipolar geometry, to first order.

    Args:
      matrix: [3, 3], essential or fundamental.
      pairs: (first [N, 2], second [N, 2]), in the coordinates of the matrix.

    Returns:
      [N], in these coordinates.
    """
    matrix, first, second = to_acc_dtype(matrix), *map(_homogeneous, map(to_acc_dtype, pairs))
    lines, back = first @ matrix.T, second @ matrix
    squared = (lines[:, :2] ** 2).sum(1) + (back[:, :2] ** 2).sum(1)
    return jnp.abs((second * lines).sum(1)) / jnp.sqrt(squared)


def essential_poses(essential: jax.Array) -> tuple[jax.Array, jax.Array]:
    """List the four motions of an essential matrix.

    Args:
      essential: [3, 3].

    Returns:
      (rotations [4, 3, 3], translations [4, 3] of length 1), from the first camera to the second.
    """
    check_finite("essential", essential)
    u, _, vt = jnp.linalg.svd(to_acc_dtype(essential))
    u, vt = u * jnp.sign(jnp.linalg.det(u)), vt * jnp.sign(jnp.linalg.det(vt))
    quarter = jnp.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]], u.dtype)
    one, other, t = u @ quarter @ vt, u @ quarter.T @ vt, u[:, 2]
    return jnp.stack([one, one, other, other]), jnp.stack([t, -t, t, -t])


def ransac_essential(
    key: jax.Array,
    first: jax.Array,
    second: jax.Array,
    threshold: float,
    num_hypotheses: int = 500,
    mask: jax.Array | None = None,
) -> Consensus:
    """Find the essential matrix that most pairs follow.

    Args:
      key: PRNG key.
      first: [N, 2], normalized coordinates.
      second: [N, 2].
      threshold: largest Sampson distance of an inlier, in normalized coordinates (pixels over the focal length).
      num_hypotheses: number of samples of eight pairs.
      mask: [N] bool, which pairs count; None for all.

    Returns:
      The consensus; its model is [3, 3].
    """
    return ransac(
        key,
        (first, second),
        lambda pairs: fit_essential(*pairs),
        sampson_distance,
        sample_size=8,
        threshold=threshold,
        num_hypotheses=num_hypotheses,
        refit=lambda pairs, weights: fit_essential(*pairs, weights),
        mask=mask,
    )


def structure_from_motion(
    key: jax.Array,
    first: jax.Array,
    second: jax.Array,
    intrinsics: jax.Array,
    threshold: float = 1.0,
    num_hypotheses: int = 500,
    mask: jax.Array | None = None,
) -> Structure:
    """Reconstruct the motion and the points of two images of one camera.

    Args:
      key: PRNG key.
      first: [N, 2], pixels of the first image, N at least 8, of a scene that is not a plane.
      second: [N, 2], pixels of the same points in the second.
      intrinsics: [3, 3].
      threshold: largest distance of an inlier, in pixels.
      num_hypotheses: number of samples of eight pairs.
      mask: [N] bool, which pairs count; None for all.

    Returns:
      The structure, in units of the distance between the cameras. Where a turn alone explains more than 80 % of the
      inliers (COLMAP's limit of a panorama), there is none: the translation is 0, and the mask False.
    """
    if len(first) < 8:
        raise ValueError(f"first: {len(first)} pairs; allowed: at least 8")
    if len(first) != len(second):
        raise ValueError(f"second: {len(second)} pixels of {len(first)} pairs; allowed: as many as first has")
    one, two = (pixels_to_plane(to_acc_dtype(pixels), intrinsics) for pixels in (first, second))
    focal = jnp.sqrt(to_acc_dtype(intrinsics)[0, 0] * to_acc_dtype(intrinsics)[1, 1])
    settings = {"threshold": threshold, "num_hypotheses": num_hypotheses, "mask": mask}
    # The threshold of RANSAC is static; distances are brought to pixels instead.
    consensus = ransac(
        key,
        (one, two),
        lambda pairs: fit_essential(*pairs),
        lambda matrix, pairs: focal * sampson_distance(matrix, pairs),
        sample_size=8,
        refit=lambda pairs, weights: fit_essential(*pairs, weights),
        **settings,
    )

    def parallax(rotation, pairs):
        """How far the second pixels are from where the first go by a turn alone.

        Noise σ leaves 95 % of Sampson distances within √3.84 σ, and of these, of two pixels, within √(2 · 5.99) σ.
        """
        rotated = product(_homogeneous(pairs[0]), rotation.T)
        distance = jnp.sqrt(jnp.square(rotated[:, :2] / rotated[:, 2:] - pairs[1]).sum(1))
        return jnp.where(rotated[:, 2] > 0, focal * distance / 1.77, jnp.inf)

    turn = ransac(
        key,
        (one, two),
        lambda pairs: _fit_turn(*pairs),
        parallax,
        sample_size=2,
        refit=lambda pairs, weights: _fit_turn(*pairs, weights),
        **settings,
    )
    moves = turn.num_inliers <= 0.8 * consensus.num_inliers
    rotations, translations = essential_poses(consensus.model)
    world = jnp.eye(3, 4, dtype=one.dtype)

    def reconstruct(rotation, translation):
        cameras = jnp.stack([world, jnp.concatenate([rotation, translation[:, None]], 1)])
        points = triangulate(cameras, jnp.stack([one, two]))
        return points, (points[:, 2] > 0) & ((points @ rotation.T + translation)[:, 2] > 0)

    points, in_front = jax.vmap(reconstruct)(rotations, translations)
    # Cheirality: of the four motions, the one with most points in front of both cameras.
    best = (in_front & consensus.inliers).sum(1).argmax()
    is_near = parallax(rotations[best], (one, two)) > threshold
    return Structure(
        jnp.where(moves, rotations[best], turn.model),
        jnp.where(moves, translations[best], 0),
        points[best],
        moves & consensus.inliers & in_front[best] & is_near,
    )


def _fit_turn(first: jax.Array, second: jax.Array, weights: jax.Array | None = None) -> jax.Array:
    """The rotation [3, 3] that takes the directions of points [N, 2] to those of others (Kabsch)."""
    x, y = (points / jnp.linalg.norm(points, axis=1, keepdims=True) for points in map(_homogeneous, (first, second)))
    u, _, vt = jnp.linalg.svd(product((y if weights is None else weights[:, None] * y).T, x))
    sign = jnp.linalg.det(u) * jnp.linalg.det(vt)
    return product(u.at[:, 2].multiply(jnp.sign(sign)), vt)


def _homogeneous(points: jax.Array) -> jax.Array:
    return jnp.concatenate([points, jnp.ones_like(points[:, :1])], 1)
