"""Structure from motion: cameras and points from the pixels of tracked points in several images of one camera.

    first and last image   essential matrix by RANSAC, pose, triangulation              (`classical_vision.two_view`)
    images between         pose of each from the points so far, by RANSAC               (`classical_vision.pose`)
    all of them            triangulate, drop pixels far from their projection, adjust the bundle; all of it twice:

    min over R_v, t_v, X_n of Σ m_vn |project(K (R_v X_n + t_v)) - pixel_vn|²            by Levenberg-Marquardt

Each step eliminates the points (Schur complement), so that it solves a system of 6 V unknowns. Triggs et al. 2000,
"Bundle adjustment - a modern synthesis". The first camera is the world; the last has moved by a length of 1. The
result is a point cloud, or a mesh where the points are a mesh's vertices: `data.mesh_files.write_mesh` exports both.
"""

from typing import NamedTuple

import jax
import jax.core
import jax.numpy as jnp

from dlcore.choices import check_whole_number
from dlcore.classical_vision.pose import ransac_pose
from dlcore.classical_vision.two_view import structure_from_motion, triangulate
from dlcore.ops.camera import check_intrinsics, pixels_to_plane, rotation_from_vector
from dlcore.ops.checks import check_finite, check_shapes
from dlcore.ops.precision import to_acc_dtype

__all__ = ["Bundle", "bundle_adjustment", "reconstruct", "reprojection_errors"]

_HIGHEST = jax.lax.Precision.HIGHEST


class Bundle(NamedTuple):
    """Cameras and points.

    Args:
      rotations: [V, 3, 3], world to camera.
      translations: [V, 3].
      points: [N, 3]; 0 where no two images show the point.
      mask: [V, N] bool, which pixels the bundle explains; none where the camera did not move, only turned.
    """

    rotations: jax.Array
    translations: jax.Array
    points: jax.Array
    mask: jax.Array


def reprojection_errors(bundle: Bundle, pixels: jax.Array, intrinsics: jax.Array) -> jax.Array:
    """Compute projections minus pixels.

    Args:
      bundle: cameras and points.
      pixels: [V, N, 2].
      intrinsics: [3, 3].

    Returns:
      [V, N, 2] in pixels; 0 where the mask of the bundle is False.
    """
    _check(pixels, bundle.mask, intrinsics)
    _check_bundle(bundle, pixels)
    pixels = to_acc_dtype(pixels)
    zero = jnp.zeros((), pixels.dtype)
    errors = jax.vmap(lambda r, t, x: _error(zero, zero, r, t, bundle.points, x, intrinsics))(
        bundle.rotations, bundle.translations, pixels
    )
    return jnp.where(bundle.mask[..., None], errors, 0)


def bundle_adjustment(bundle: Bundle, pixels: jax.Array, intrinsics: jax.Array, steps: int = 20) -> Bundle:
    """Refine cameras and points together.

    Args:
      bundle: start.
      pixels: [V, N, 2].
      intrinsics: [3, 3].
      steps: number of steps of Levenberg-Marquardt; one that does not lower the error is not taken.

    Returns:
      The bundle; the first camera and the distance between the first and the last stay.
    """
    check_whole_number("steps", steps, 0)
    _check(pixels, bundle.mask, intrinsics)
    _check_bundle(bundle, pixels)
    pixels = to_acc_dtype(pixels)
    weights = bundle.mask.astype(pixels.dtype)
    views = len(pixels)
    is_free = (jnp.arange(views) > 0).astype(pixels.dtype)

    def blocks(bundle: Bundle):
        """Errors [V, N, 2] and their derivatives by cameras [V, N, 2, 6] and points [V, N, 2, 3]."""

        def one(rotation, translation, point, pixel):
            function = lambda c, p: _error(c, p, rotation, translation, point, pixel, intrinsics)  # noqa: E731
            start = jnp.zeros(6, pixels.dtype), jnp.zeros(3, pixels.dtype)
            return function(*start), *jax.jacfwd(function, (0, 1))(*start)

        over_points = jax.vmap(one, (None, None, 0, 0))
        errors, by_camera, by_point = jax.vmap(over_points, (0, 0, None, 0))(
            bundle.rotations, bundle.translations, bundle.points, pixels
        )
        w = jnp.sqrt(weights)[..., None]
        return w * errors, w[..., None] * by_camera * is_free[:, None, None, None], w[..., None] * by_point

    def cost(bundle: Bundle) -> jax.Array:
        return jnp.square(reprojection_errors(bundle, pixels, intrinsics)).sum()

    def damp(matrices: jax.Array, damping: jax.Array) -> jax.Array:
        """Add to the diagonals; rows of zeros (the first camera, points not seen) get ones."""
        diagonal = jnp.diagonal(matrices, axis1=-2, axis2=-1)
        added = jnp.where(diagonal > 0, damping * diagonal + 1e-9, 1)
        return matrices + added[..., None] * jnp.eye(matrices.shape[-1], dtype=matrices.dtype)

    def step(_, carry):
        bundle, damping, before = carry
        errors, j, k = blocks(bundle)  # [V, N, 2], [V, N, 2, 6], [V, N, 2, 3]
        # Blocks of the normal equations: U [V, 6, 6], V⁻¹ [N, 3, 3], W [V, N, 6, 3].
        camera = damp(jnp.einsum("vnea,vneb->vab", j, j, precision=_HIGHEST), damping)
        point = jnp.linalg.inv(damp(jnp.einsum("vnea,vneb->nab", k, k, precision=_HIGHEST), damping))
        mixed = jnp.einsum("vnea,vneb->vnab", j, k, precision=_HIGHEST)
        g_camera = jnp.einsum("vnea,vne->va", j, errors, precision=_HIGHEST)
        g_point = jnp.einsum("vnea,vne->na", k, errors, precision=_HIGHEST)
        # Eliminate the points: S dc = -(g_c - W V⁻¹ g_p).
        reduced = jnp.einsum("vnab,nbc->vnac", mixed, point, precision=_HIGHEST)
        schur = -jnp.einsum("vnac,unbc->vaub", reduced, mixed, precision=_HIGHEST)
        schur = schur.at[jnp.arange(views), :, jnp.arange(views)].add(camera).reshape(6 * views, 6 * views)
        right = g_camera - jnp.einsum("vnac,nc->va", reduced, g_point, precision=_HIGHEST)
        change = -jnp.linalg.solve(schur, right.reshape(-1)).reshape(views, 6)
        # Back-substitution: the points' change follows from that of the cameras.
        back = g_point + jnp.einsum("vnab,va->nb", mixed, change, precision=_HIGHEST)
        moved = -jnp.einsum("nab,nb->na", point, back, precision=_HIGHEST)
        candidate = Bundle(
            jnp.matmul(jax.vmap(rotation_from_vector)(change[:, :3]), bundle.rotations, precision=_HIGHEST),
            bundle.translations + change[:, 3:],
            bundle.points + moved,
            bundle.mask,
        )
        # Levenberg-Marquardt: a step that lowers the cost lowers the damping, another raises it.
        after = cost(candidate)
        accepted = after < before
        bundle = jax.tree.map(lambda new, old: jnp.where(accepted, new, old), candidate, bundle)
        damping = jnp.where(accepted, jnp.maximum(damping / 10, 1e-8), jnp.minimum(damping * 10, 1e4))
        return bundle, damping, jnp.where(accepted, after, before)

    length = _baseline(bundle)
    bundle = jax.lax.fori_loop(0, steps, step, (bundle, jnp.asarray(1e-3, pixels.dtype), cost(bundle)))[0]
    scale = jnp.where(length > 0, length / jnp.where(length > 0, _baseline(bundle), 1), 1)
    # A change of the world's unit changes no pixel; the first camera's translation is scaled about its center.
    first = bundle.rotations[0].T @ bundle.translations[0]
    origin = jnp.matmul(bundle.rotations, first, precision=_HIGHEST)
    translations = scale * (bundle.translations - origin) + origin
    points = jnp.where(bundle.mask.any(0)[:, None], scale * (bundle.points + first) - first, 0)
    return Bundle(bundle.rotations, translations, points, bundle.mask)


def reconstruct(
    key: jax.Array,
    pixels: jax.Array,
    intrinsics: jax.Array,
    mask: jax.Array | None = None,
    threshold: float = 2.0,
    num_hypotheses: int = 500,
    steps: int = 20,
) -> Bundle:
    """Reconstruct cameras and points from tracks.

    Args:
      key: PRNG key.
      pixels: [V, N, 2], V at least 2, of the same N points in each image; N at least 8 and not on a plane.
      intrinsics: [3, 3].
      mask: [V, N] bool, where an image shows a point; None for everywhere.
      threshold: largest error of an inlier of RANSAC, in pixels; the bundle keeps pixels within twice it.
      num_hypotheses: samples of each RANSAC.
      steps: number of steps of the bundle adjustment.

    Returns:
      The bundle, in units of the distance between the first and the last camera. Where a turn alone takes the first
      image to the last (`classical_vision.structure_from_motion`), nothing has a place: under jit the mask is False
      everywhere.
    """
    check_shapes(threshold=(threshold, "> 0"))
    check_shapes(threshold=(threshold, "finite"))
    check_whole_number("num_hypotheses", num_hypotheses, 1)
    check_whole_number("steps", steps, 0)
    pixels = to_acc_dtype(pixels)
    mask = jnp.ones(pixels.shape[:2], bool) if mask is None else jnp.asarray(mask)
    _check(pixels, mask, intrinsics)
    both = mask[0] & mask[-1]
    # Two views: the first and the last image give their poses and points.
    start = structure_from_motion(key, pixels[0], pixels[-1], intrinsics, threshold, num_hypotheses, both)
    if not isinstance(start.mask, jax.core.Tracer) and not start.mask.any():
        raise ValueError("pixels: the camera does not move from the first to the last image; allowed: two places")
    points = jnp.where(start.mask[:, None], start.points, 0)

    def locate(index, image, is_visible):
        view_key = jax.random.fold_in(key, index)
        visible = is_visible & start.mask
        consensus = ransac_pose(view_key, points, image, intrinsics, threshold, num_hypotheses, visible)
        return consensus.model.rotation, consensus.model.translation

    rotations = [jnp.eye(3, dtype=pixels.dtype), start.rotation]
    translations = [jnp.zeros(3, pixels.dtype), start.translation]
    # Pose of each image between, from the points that it shows (RANSAC).
    if len(pixels) > 2:
        views = jnp.arange(1, len(pixels) - 1)
        rotations[1:1], translations[1:1] = map(list, jax.vmap(locate)(views, pixels[1:-1], mask[1:-1]))
    rotations, translations = jnp.stack(rotations), jnp.stack(translations)
    mask &= start.mask.any()
    bundle = Bundle(rotations, translations, points, mask)
    # Points come from the first and the last image where both show them, so that a wrong pixel between does no harm.
    endpoints = jnp.zeros_like(mask).at[jnp.array([0, -1])].set(both)
    used = jnp.where(both, endpoints, mask)
    # Remove outliers in two rounds; the first one is lenient, as its poses are not refined yet.
    for limit in (5 * threshold, 2 * threshold):
        bundle = _triangulated(bundle._replace(mask=mask), used, pixels, intrinsics, limit)
        bundle = bundle_adjustment(bundle, pixels, intrinsics, steps)
    return bundle


def _triangulated(bundle: Bundle, used: jax.Array, pixels: jax.Array, intrinsics: jax.Array, limit: float) -> Bundle:
    """The bundle with points from the pixels `used` [V, N], and a mask of the pixels within the limit of them."""
    cameras = jnp.concatenate([bundle.rotations, bundle.translations[..., None]], 2)  # [V, 3, 4]
    points = triangulate(cameras, pixels_to_plane(pixels, intrinsics), used)
    is_finite = jnp.isfinite(points).all(1) & (used.sum(0) >= 2)
    bundle = bundle._replace(points=jnp.where(is_finite[:, None], points, 0), mask=bundle.mask & is_finite)
    depths = jnp.einsum("vj,nj->vn", bundle.rotations[:, 2], bundle.points) + bundle.translations[:, None, 2]
    errors = jnp.sqrt(jnp.square(reprojection_errors(bundle, pixels, intrinsics)).sum(-1))
    valid = bundle.mask & (depths > 0) & (errors <= limit)
    valid &= valid.sum(0) >= 2  # one view does not determine a point
    return bundle._replace(points=jnp.where(valid.any(0)[:, None], bundle.points, 0), mask=valid)


def _error(camera_change, point_change, rotation, translation, points, pixels, intrinsics):
    """Projections minus pixels [..., 2], after small changes; points in the plane of the camera count as at depth 1."""
    if jnp.ndim(camera_change):
        rotation = jnp.matmul(rotation_from_vector(camera_change[:3]), rotation, precision=_HIGHEST)
        translation = translation + camera_change[3:]
    camera = jnp.matmul(points + point_change, rotation.T, precision=_HIGHEST) + translation
    depth = jnp.where(jnp.abs(camera[..., 2:]) > 1e-9, camera[..., 2:], 1)
    k = jnp.asarray(intrinsics, pixels.dtype)
    return jnp.matmul(camera[..., :2] / depth, k[:2, :2].T, precision=_HIGHEST) + k[:2, 2] - pixels


def _baseline(bundle: Bundle) -> jax.Array:
    """Distance between the centers of the first and the last camera."""
    centers = -jnp.einsum("vji,vj->vi", bundle.rotations, bundle.translations, precision=_HIGHEST)
    return jnp.linalg.norm(centers[-1] - centers[0])


def _check(pixels, mask, intrinsics) -> None:
    shape = jnp.shape(pixels)
    if len(shape) != 3 or shape[2] != 2 or shape[0] < 2 or jnp.shape(mask) != shape[:2]:
        raise ValueError(
            f"pixels.shape={shape}, mask.shape={jnp.shape(mask)}: do not fit; allowed: [V, N, 2] and [V, N], V at "
            "least 2"
        )
    check_finite("pixels", pixels)
    check_intrinsics(intrinsics)


def _check_bundle(bundle: Bundle, pixels) -> None:
    views, count = jnp.shape(pixels)[:2]
    check_shapes(
        **{
            "bundle.rotations": (bundle.rotations, f"{views} 3 3"),
            "bundle.translations": (bundle.translations, f"{views} 3"),
            "bundle.points": (bundle.points, f"{count} 3"),
        }
    )
