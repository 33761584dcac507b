"""Localization: the pose of a calibrated camera from points of known location (perspective n points).

Hartley & Zisserman 2004, section 7.1; Fischler & Bolles 1981 for the name and the outliers.

    P = argmin |A p| on normalized coordinates;   R = the rotation nearest to its 3x3 part, t = its column / scale
    then Gauss-Newton on the pixels' errors

The DLT takes six points or more that are not on a plane: of a plane there are two poses with nearly the same image.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlcore.classical_vision.calibration import fit_camera_matrix
from dlcore.classical_vision.ransac import Consensus, ransac
from dlcore.ops.camera import pixels_to_plane, rotation_from_vector, world_to_camera
from dlcore.ops.checks import check_weights
from dlcore.ops.precision import add_center, centered, product, to_acc_dtype

__all__ = ["Pose", "ransac_pose", "solve_pose"]


class Pose(NamedTuple):
    """Extrinsics, world to camera.

    Args:
      rotation: [3, 3].
      translation: [3], NumPy's float64 where the points are an array of the host of 64 bits.
    """

    rotation: jax.Array
    translation: jax.Array


def solve_pose(
    points: jax.Array, pixels: jax.Array, intrinsics: jax.Array, weights: jax.Array | None = None, steps: int = 5
) -> Pose:
    """Find the pose of a camera.

    Args:
      points: [N, 3] in the world, N at least 6, not on a plane.
      pixels: [N, 2].
      intrinsics: [3, 3].
      weights: [N], 0 leaves a point out; None for ones.
      steps: number of steps of Gauss-Newton.

    Returns:
      The pose.
    """
    check_weights(weights, 6)
    near_points, center = centered(points)  # points of a map lie millions of meters from 0
    return _moved(_solve(near_points, pixels_to_plane(to_acc_dtype(pixels), intrinsics), weights, steps), center)


def ransac_pose(
    key: jax.Array,
    points: jax.Array,
    pixels: jax.Array,
    intrinsics: jax.Array,
    threshold: float = 2.0,
    num_hypotheses: int = 300,
    mask: jax.Array | None = None,
) -> Consensus:
    """Find the pose that most points agree with: localization in a map of points.

    Args:
      key: PRNG key.
      points: [N, 3] in the world.
      pixels: [N, 2].
      intrinsics: [3, 3].
      threshold: largest distance of an inlier from its projection, in pixels.
      num_hypotheses: number of samples of six points.
      mask: [N] bool, which points count; None for all.

    Returns:
      The consensus; its model is a Pose.
    """
    focal = jnp.sqrt(to_acc_dtype(intrinsics)[0, 0] * to_acc_dtype(intrinsics)[1, 1])

    def residual(pose: Pose, data: tuple[jax.Array, jax.Array]) -> jax.Array:
        camera = world_to_camera(data[0], *pose)
        distance = jnp.sqrt(jnp.square(camera[:, :2] / camera[:, 2:] - data[1]).sum(1))
        return jnp.where(camera[:, 2] > 0, focal * distance, jnp.inf)

    near_points, center = centered(points)
    consensus = ransac(
        key,
        (near_points, pixels_to_plane(to_acc_dtype(pixels), intrinsics)),
        lambda data: _solve(*data, None, 0),
        residual,
        sample_size=6,
        threshold=threshold,
        num_hypotheses=num_hypotheses,
        refit=lambda data, weights: _solve(*data, weights, 5),
        mask=mask,
    )
    return consensus._replace(model=_moved(consensus.model, center))


def _moved(pose: Pose, center: Any) -> Pose:
    """From points relative to a center to the world's: R (x - c) + t = R x + (t - R c)."""
    return pose._replace(translation=add_center(pose.translation, -product(pose.rotation, center)))


def _solve(points: jax.Array, plane: jax.Array, weights: jax.Array | None, steps: int) -> Pose:
    matrix = fit_camera_matrix(points, plane, weights)
    matrix = matrix * jnp.sign(jnp.linalg.det(matrix[:, :3]))
    # The nearest rotation to the DLT's left part; the mean singular value is its scale.
    u, values, vt = jnp.linalg.svd(matrix[:, :3])
    weights = jnp.ones(len(points), points.dtype) if weights is None else to_acc_dtype(weights)

    def errors(change: jax.Array, pose: Pose) -> jax.Array:
        rotation = rotation_from_vector(change[:3]) @ pose.rotation
        camera = world_to_camera(points, rotation, pose.translation + change[3:])
        depth = jnp.where(jnp.abs(camera[:, 2:]) > 1e-9, camera[:, 2:], 1)
        return ((camera[:, :2] / depth - plane) * jnp.sqrt(weights)[:, None]).ravel()

    def step(_, pose: Pose) -> Pose:
        zero = jnp.zeros(6, points.dtype)
        # Gauss-Newton on the reprojection errors.
        jacobian, error = jax.jacfwd(errors)(zero, pose), errors(zero, pose)  # [2 N, 6], [2 N]
        change = -jnp.linalg.solve(jacobian.T @ jacobian + 1e-9 * jnp.eye(6, dtype=points.dtype), jacobian.T @ error)
        return Pose(rotation_from_vector(change[:3]) @ pose.rotation, pose.translation + change[3:])

    pose = Pose(u @ vt, matrix[:, 3] / values.mean())
    return jax.lax.fori_loop(0, steps, step, pose) if steps else pose
