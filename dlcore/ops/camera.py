"""Pinhole cameras: world to pixels and back, lens distortion, and the axes of other libraries.

    X_c = R X + t,    x = X_c / w with w = depth = z of X_c,    (x', y') = distort(x, y),    (u, v, 1)ᵀ = K (x', y', 1)ᵀ
    X = w Rᵀ K⁻¹ (u, v, 1)ᵀ - Rᵀ t                        the camera's center is C = -Rᵀ t

Conventions, everywhere in dlcore:

  axes         x right, y down, z forward (OpenCV). OpenGL: right, up, backward. PyTorch3D: left, up, forward
  pixels       (u, v) = (column, row); the center of the first pixel is (0, 0), as in OpenCV and `bilinear_sample`.
               Where it is (0.5, 0.5) (OpenGL, PyTorch3D), add 0.5 to u and v and to the principal point.
  extrinsics   world to camera, (R, t), column vectors. Camera to world is (Rᵀ, C). PyTorch3D multiplies row vectors,
               X_c = X R + T, so that its R is the transpose.
  intrinsics   K = [[fx, skew, cx], [0, fy, cy], [0, 0, 1]], all in pixels. The 3x4 matrix of the textbook is
               [K | 0]: it has no inverse, K has.
  depth        z of X_c, not the distance to the center. Behind the camera it is negative: mask with `depth > 0`.
  distortion   k1, k2, p1, p2[, k3] in OpenCV's order (Brown-Conrady), on normalized coordinates

All functions run under jit and vmap (one camera a call) and have gradients. Values are checked outside of jit only.
References: Hartley & Zisserman 2004, "Multiple view geometry in computer vision", chapter 6; Brown 1966,
"Decentering distortion of lenses".
"""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_choice, check_whole_number
from dlcore.ops.checks import check_finite, check_shapes
from dlcore.ops.precision import acc_dtype_of, add_center, product, result_dtype, to_acc_dtype, to_namespace

__all__ = [
    "camera_center",
    "camera_matrix",
    "check_intrinsics",
    "convert_extrinsics",
    "distort",
    "intrinsic_matrix",
    "look_at",
    "pixel_grid",
    "pixel_rays",
    "pixels_to_plane",
    "plane_to_pixels",
    "project",
    "rotation_from_vector",
    "undistort",
    "unproject",
    "world_to_camera",
]

_AXES = {"opencv": (1.0, 1.0, 1.0), "opengl": (1.0, -1.0, -1.0), "pytorch3d": (-1.0, -1.0, 1.0)}


def intrinsic_matrix(
    fx: float | jax.Array,
    fy: float | jax.Array,
    cx: float | jax.Array,
    cy: float | jax.Array,
    skew: float | jax.Array = 0.0,
) -> jax.Array:
    """Build the intrinsic matrix K.

    Args:
      fx: focal length in pixel widths.
      fy: focal length in pixel heights.
      cx: column of the principal point.
      cy: row of the principal point.
      skew: skew of the pixel's axes, 0 for rectangular pixels.

    Returns:
      [3, 3].
    """
    zero, one = jnp.zeros_like(jnp.asarray(fx, float)), jnp.ones_like(jnp.asarray(fx, float))
    rows = ((fx, skew, cx), (zero, fy, cy), (zero, zero, one))
    intrinsics = jnp.stack([jnp.stack([jnp.asarray(v, float) for v in row], -1) for row in rows], -2)
    check_intrinsics(intrinsics)
    return intrinsics


def check_intrinsics(intrinsics: Any) -> None:
    """Check that a matrix is one of intrinsics; of a traced one, its shape.

    Args:
      intrinsics: [..., 3, 3].
    """
    if jnp.shape(intrinsics)[-2:] != (3, 3):
        raise ValueError(f"intrinsics.shape={jnp.shape(intrinsics)}: not a matrix K; allowed: [3, 3]")
    if isinstance(intrinsics, jax.core.Tracer):
        return
    k = np.asarray(intrinsics, np.float64)
    check_finite("intrinsics", k)
    below = k[..., (1, 2, 2), (0, 0, 1)]
    if not (k[..., 0, 0] * k[..., 1, 1]).all() or below.any() or not (k[..., 2, 2] == 1).all():
        raise ValueError(
            f"intrinsics={k.tolist()}: singular or not a matrix K; allowed: [[fx, skew, cx], [0, fy, cy], [0, 0, 1]], "
            "fx and fy not 0"
        )


def camera_matrix(intrinsics: jax.Array, rotation: jax.Array, translation: jax.Array) -> jax.Array:
    """Multiply the parts of a camera: P = K [R | t].

    Args:
      intrinsics: [3, 3].
      rotation: [3, 3], world to camera.
      translation: [3], world to camera.

    Returns:
      [3, 4], which takes (X, Y, Z, 1) to (u w, v w, w); NumPy's float64 of arrays of the host.
    """
    check_intrinsics(intrinsics)
    check_shapes(intrinsics=(intrinsics, "3 3"), rotation=(rotation, "3 3"), translation=(translation, "3"))
    xp, intrinsics, rotation, translation = to_namespace(intrinsics, rotation, translation)
    return product(intrinsics, xp.concatenate([rotation, translation[:, None]], 1))


def camera_center(rotation: jax.Array, translation: jax.Array) -> jax.Array:
    """Locate a camera in the world: C = -Rᵀ t, and in the other direction t = -R C.

    Args:
      rotation: [3, 3], world to camera.
      translation: [3], world to camera.

    Returns:
      [3], NumPy's float64 of arrays of the host.
    """
    check_shapes(rotation=(rotation, "3 3"), translation=(translation, "3"))
    _, rotation, translation = to_namespace(rotation, translation)
    return -product(rotation.T, translation)


def look_at(
    center: jax.Array, target: jax.Array, up: jax.Array | tuple[float, float, float] = (0.0, 1.0, 0.0)
) -> tuple[jax.Array, jax.Array]:
    """Build the extrinsics of a camera that has a point on its optical axis.

    Args:
      center: [3], location of the camera in the world.
      target: [3], point that it looks at.
      up: [3], direction in the world that is up in the image.

    Returns:
      (rotation [3, 3], translation [3]), world to camera, NumPy's float64 of arrays of the host.
    """
    check_shapes(center=(center, "3"), target=(target, "3"), up=(up, "3"))
    xp, center, target = to_namespace(center, target)
    up = xp.asarray(up, center.dtype)
    forward = target - center
    right = xp.cross(forward, up)
    if _is_concrete(right):
        check_finite("center, target, up", xp.stack([center, target, up]))
        if not np.any(forward):
            raise ValueError(f"target={_text(target)}: is the center; allowed: a point other than the camera's center")
        if np.linalg.norm(right) <= 1e-6 * np.linalg.norm(forward) * np.linalg.norm(up):
            raise ValueError(f"up={_text(up)}: parallel to the direction of view; allowed: another direction")
    forward, right = forward / xp.linalg.norm(forward), right / xp.linalg.norm(right)
    rotation = xp.stack([right, xp.cross(forward, right), forward])
    return rotation, -product(rotation, center)


def world_to_camera(points: jax.Array, rotation: jax.Array, translation: jax.Array) -> jax.Array:
    """Change from world to camera coordinates.

    Args:
      points: [..., 3] in the world.
      rotation: [3, 3], world to camera.
      translation: [3], world to camera.

    Returns:
      [..., 3]; the last coordinate is the depth.
    """
    check_shapes(points=(points, "... 3"), rotation=(rotation, "3 3"), translation=(translation, "3"))
    check_finite("points", points)
    return _in_camera(points, rotation, translation)


def _in_camera(points: Any, rotation: Any, translation: Any) -> jax.Array:
    """R X + t, whose terms may cancel: cast behind the sum."""
    dtype = acc_dtype_of(*(value for value in (points, rotation, translation) if value is not None))
    _, points, rotation, translation = to_namespace(points, rotation, translation)
    points = points if rotation is None else product(points, rotation.T)
    return jnp.asarray(points if translation is None else points + translation, dtype)


def project(
    points: jax.Array,
    intrinsics: jax.Array,
    rotation: jax.Array | None = None,
    translation: jax.Array | None = None,
    distortion: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Project points of the world into the image.

    Args:
      points: [..., 3].
      intrinsics: [3, 3].
      rotation: [3, 3], world to camera; None for the camera's own coordinates.
      translation: [3], world to camera; None for 0.
      distortion: [4] or [5], k1, k2, p1, p2[, k3]; None for a perfect lens.

    Returns:
      (pixels [..., 2], depth [...]): what `depth > 0` leaves out is not in front of the camera. Under jit, pixels of
      depth 0 are finite and mean nothing.
    """
    check_shapes(points=(points, "... 3"), rotation=(rotation, "3 3 or None"), translation=(translation, "3 or None"))
    check_finite("points", points)
    points = _in_camera(points, rotation, translation)
    depth = points[..., 2]
    _check_nonzero("points", depth)
    plane = points[..., :2] / jnp.where(depth == 0, 1, depth)[..., None]
    return plane_to_pixels(plane, intrinsics, distortion), depth


def plane_to_pixels(plane: jax.Array, intrinsics: jax.Array, distortion: jax.Array | None = None) -> jax.Array:
    """Change from normalized coordinates, those of the plane at depth 1, to pixels.

    Args:
      plane: [..., 2], (x, y) of a perfect lens.
      intrinsics: [3, 3].
      distortion: [4] or [5]; None for a perfect lens.

    Returns:
      [..., 2], (u, v).
    """
    check_intrinsics(intrinsics)
    check_shapes(plane=(plane, "... 2"), intrinsics=(intrinsics, "3 3"))
    plane, intrinsics = to_acc_dtype(plane), to_acc_dtype(intrinsics)
    plane = plane if distortion is None else distort(plane, to_acc_dtype(distortion))
    return _apply(intrinsics[:2, :2], plane) + intrinsics[:2, 2]


def pixels_to_plane(
    pixels: jax.Array, intrinsics: jax.Array, distortion: jax.Array | None = None, steps: int = 20
) -> jax.Array:
    """Change from pixels to normalized coordinates, those of the plane at depth 1.

    Args:
      pixels: [..., 2], (u, v).
      intrinsics: [3, 3].
      distortion: [4] or [5]; None for a perfect lens.
      steps: iterations of `undistort`.

    Returns:
      [..., 2], (x, y) of a perfect lens; NaN where the lens has no image (`undistort`).
    """
    check_intrinsics(intrinsics)
    check_shapes(pixels=(pixels, "... 2"), intrinsics=(intrinsics, "3 3"))
    check_finite("pixels", pixels)
    pixels, intrinsics = jnp.asarray(pixels), jnp.asarray(intrinsics)
    dtype = result_dtype(pixels, intrinsics)
    pixels, intrinsics = to_acc_dtype(pixels), to_acc_dtype(intrinsics)
    y = (pixels[..., 1] - intrinsics[1, 2]) / intrinsics[1, 1]
    x = (pixels[..., 0] - intrinsics[0, 2] - intrinsics[0, 1] * y) / intrinsics[0, 0]
    plane = jnp.stack([x, y], -1)
    return (plane if distortion is None else undistort(plane, distortion, steps)).astype(dtype)


def pixel_rays(
    pixels: jax.Array,
    intrinsics: jax.Array,
    rotation: jax.Array | None = None,
    translation: jax.Array | None = None,
    distortion: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Find the rays of pixels: the point of depth w is origin + w direction.

    Args:
      pixels: [..., 2].
      intrinsics: [3, 3].
      rotation: [3, 3], world to camera; None for the camera's own coordinates.
      translation: [3], world to camera; None for 0.
      distortion: [4] or [5]; None for a perfect lens.

    Returns:
      (origin [3], the camera's center; directions [..., 3], of depth 1, not of length 1, NaN where the lens has no
      image).
    """
    check_shapes(rotation=(rotation, "3 3 or None"), translation=(translation, "3 or None"))
    plane = pixels_to_plane(pixels, intrinsics, distortion)
    directions = jnp.concatenate([plane, jnp.ones_like(plane[..., :1])], -1)
    rotation = jnp.eye(3, dtype=plane.dtype) if rotation is None else rotation
    translation = jnp.zeros(3, plane.dtype) if translation is None else translation
    return camera_center(rotation, translation), _apply(jnp.asarray(rotation).T, directions)


def unproject(
    pixels: jax.Array,
    depth: jax.Array,
    intrinsics: jax.Array,
    rotation: jax.Array | None = None,
    translation: jax.Array | None = None,
    distortion: jax.Array | None = None,
) -> jax.Array:
    """Find the points of the world that pixels of known depth show.

    Args:
      pixels: [..., 2].
      depth: [...], or one for all: z in the camera's coordinates, not 0. A distance along a ray of length 1, as of
        `volume_render`, is z times the length of the direction that `pixel_rays` gives without a rotation.
      intrinsics: [3, 3].
      rotation: [3, 3], world to camera; None for the camera's own coordinates.
      translation: [3], world to camera; None for 0.
      distortion: [4] or [5]; None for a perfect lens.

    Returns:
      [..., 3], NumPy's float64 where the extrinsics are arrays of the host; NaN where the lens has no image.
    """
    check_shapes(pixels=(pixels, "... 2"), depth=(depth, "..." if np.ndim(depth) else ""))
    check_finite("depth", depth)
    _check_nonzero("depth", depth)
    origin, directions = pixel_rays(pixels, intrinsics, rotation, translation, distortion)
    return add_center(to_acc_dtype(depth)[..., None] * directions, origin)


def pixel_grid(height: int, width: int) -> jax.Array:
    """List the centers of all pixels of an image.

    Args:
      height: rows.
      width: columns.

    Returns:
      [height, width, 2] of (u, v).
    """
    check_shapes(height=(height, "int >= 1"), width=(width, "int >= 1"))
    return jnp.stack(jnp.meshgrid(jnp.arange(width), jnp.arange(height)), -1).astype(float)


def distort(plane: jax.Array, distortion: jax.Array) -> jax.Array:
    """Distort normalized coordinates as a lens does.

    With r² = x² + y² and d = 1 + k1 r² + k2 r⁴ + k3 r⁶:  x' = x d + 2 p1 x y + p2 (r² + 2 x²),
    y' = y d + p1 (r² + 2 y²) + 2 p2 x y.

    Args:
      plane: [..., 2].
      distortion: [4] or [5], k1, k2, p1, p2[, k3].

    Returns:
      [..., 2].
    """
    check_shapes(plane=(plane, "... 2"))
    check_finite("plane", plane)
    plane, distortion = jnp.asarray(plane), jnp.asarray(distortion)
    dtype, plane = result_dtype(plane, distortion), to_acc_dtype(plane)
    factor, offset = _distortion(plane, distortion)
    return (plane * factor[..., None] + offset).astype(dtype)


def undistort(plane: jax.Array, distortion: jax.Array, steps: int = 20) -> jax.Array:
    """Invert `distort` by Newton's method: x <- x - J⁻¹ (distort(x) - x'), J the derivatives of `distort`.

    A step that does not lower the error is cut until it does. Of several x the one counts to which a line leads from
    the center of the image along which J stays positive definite: before the lens folds.

    Args:
      plane: [..., 2], distorted.
      distortion: [4] or [5], k1, k2, p1, p2[, k3].
      steps: most iterations; 5 are enough inside of the image of most lenses.

    Returns:
      [..., 2], exact to rounding; NaN where no such x is found, as where a barrel lens has no image.
    """
    check_shapes(plane=(plane, "... 2"))
    check_finite("plane", plane)
    check_finite("distortion", distortion)
    check_whole_number("steps", steps, 1)
    plane, distortion = jnp.asarray(plane), jnp.asarray(distortion)
    dtype, plane = result_dtype(plane, distortion), plane.astype(acc_dtype_of(plane, distortion))
    distortion = to_acc_dtype(distortion)
    axes = [1] * plane.ndim

    def error_of(x):
        return distort(x, distortion) - plane

    def slope_of(x):
        return lambda change: jax.jvp(error_of, (x,), (change,))[1]

    def is_regular(x):
        first, second = _columns(slope_of(x), x)
        return (first[..., 0] > 0) & (first[..., 0] * second[..., 1] > first[..., 1] * second[..., 0])

    def best_of(x, change, parts):
        """The least error after a part of the change, 0 among them."""
        tried = x + jnp.asarray(parts, x.dtype).reshape(-1, *axes) * change
        size = jnp.where(jax.vmap(is_regular)(tried), jnp.square(jax.vmap(error_of)(tried)).sum(-1), jnp.inf)
        return jnp.take_along_axis(tried, size.argmin(0)[None, ..., None], 0)[0]

    def step(carry):
        count, x, _ = carry
        new = best_of(x, -_solve_columns(slope_of(x), error_of(x)), (1, 0.5, 0.25, 0.0625, 0))
        return count + 1, new, (new != x).any()

    def solve(_, center):
        # At the center the derivative is 1: the first step is the point itself, far too long for a pincushion's corner.
        start = best_of(center, plane, (*0.25 ** np.arange(17), 0))
        return jax.lax.while_loop(lambda carry: (carry[0] < steps) & carry[2], step, (0, start, True))[1]

    x = jax.lax.custom_root(error_of, jnp.zeros_like(plane), solve, _solve_columns)
    root = jax.lax.stop_gradient(x)
    limit = 100 * jnp.finfo(plane.dtype).eps * (jnp.abs(plane).max(-1) + jnp.abs(root).max(-1))
    line = jnp.linspace(0, 1, 33, dtype=plane.dtype)[1:].reshape(-1, *axes) * root
    converged = (jnp.abs(error_of(root)).max(-1) <= limit) & jax.vmap(is_regular)(line).all(0)
    return jnp.where(converged[..., None], x, jnp.nan).astype(dtype)


def rotation_from_vector(vector: jax.Array) -> jax.Array:
    """Rodrigues' formula: R = I + sin θ [a]ₓ + (1 - cos θ) [a]ₓ², for a vector of angle θ and axis a.

    Args:
      vector: [..., 3], axis times angle in radians.

    Returns:
      [..., 3, 3]; gradients are right at 0 too.
    """
    check_shapes(vector=(vector, "... 3"))
    check_finite("vector", vector)
    vector = to_acc_dtype(vector)
    squared = jnp.square(vector).sum(-1)[..., None, None]
    is_small = squared < 1e-6
    safe = jnp.where(is_small, 1.0, squared)
    angle = jnp.sqrt(safe)
    first = jnp.where(is_small, 1 - squared / 6 + squared**2 / 120, jnp.sin(angle) / angle)
    second = jnp.where(is_small, 0.5 - squared / 24 + squared**2 / 720, (1 - jnp.cos(angle)) / safe)
    x, y, z = (vector[..., i] for i in range(3))
    zero = jnp.zeros_like(x)
    cross = jnp.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*vector.shape, 3)
    return jnp.eye(3, dtype=vector.dtype) + first * cross + second * _product(cross, cross)


def convert_extrinsics(
    rotation: jax.Array,
    translation: jax.Array,
    source: Literal["opencv", "opengl", "pytorch3d"],
    target: Literal["opencv", "opengl", "pytorch3d"],
) -> tuple[jax.Array, jax.Array]:
    """Change extrinsics from the camera axes of one library to those of another; the world stays.

    Args:
      rotation: [3, 3], world to camera; of PyTorch3D, the one that multiplies row vectors.
      translation: [3], world to camera.
      source: library that they come from.
      target: library that they go to.

    Returns:
      (rotation [3, 3], translation [3]), NumPy's float64 of arrays of the host.
    """
    check_shapes(rotation=(rotation, "3 3"), translation=(translation, "3"))
    check_choice("source", source, _AXES)
    check_choice("target", target, _AXES)
    xp, rotation, translation = to_namespace(rotation, translation)
    signs = xp.asarray(_AXES[source], rotation.dtype) * xp.asarray(_AXES[target], rotation.dtype)
    rotation = signs[:, None] * (rotation.T if source == "pytorch3d" else rotation)
    return rotation.T if target == "pytorch3d" else rotation, signs * translation


def _distortion(plane: jax.Array, distortion: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(radial factor [...], tangential offset [..., 2])."""
    check_finite("distortion", distortion)
    distortion = to_acc_dtype(distortion)
    if distortion.shape not in ((4,), (5,)):
        raise ValueError(f"{distortion.shape=}: wrong number; allowed: [4] of k1, k2, p1, p2 or [5] with k3")
    k1, k2, p1, p2 = distortion[:4]
    k3 = distortion[4] if len(distortion) == 5 else 0.0
    x, y = plane[..., 0], plane[..., 1]
    r2 = x**2 + y**2
    offset = jnp.stack([2 * p1 * x * y + p2 * (r2 + 2 * x**2), p1 * (r2 + 2 * y**2) + 2 * p2 * x * y], -1)
    return 1 + r2 * (k1 + r2 * (k2 + r2 * k3)), offset


def _columns(linear: Callable, like: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The columns [..., 2] of a linear map of vectors [..., 2], each by itself."""
    return tuple(linear(jnp.zeros_like(like).at[..., i].set(1)) for i in range(2))


def _solve_columns(linear: Callable, right: jax.Array) -> jax.Array:
    """x [..., 2] with linear(x) = right, by Cramer's rule."""
    (a, c), (b, d) = (jnp.moveaxis(column, -1, 0) for column in _columns(linear, right))
    u, v = jnp.moveaxis(right, -1, 0)
    return jnp.stack([d * u - b * v, a * v - c * u], -1) / (a * d - b * c)[..., None]


def _product(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(to_acc_dtype(a), to_acc_dtype(b), precision=jax.lax.Precision.HIGHEST)


def _apply(matrix: jax.Array, vectors: jax.Array) -> jax.Array:
    """matrix [M, N] times each of vectors [..., N]."""
    return _product(vectors, jnp.asarray(matrix).T)


def _is_concrete(values: Any) -> bool:
    return not isinstance(values, jax.core.Tracer)


def _check_nonzero(name: str, depth: Any) -> None:
    if _is_concrete(depth) and (zero := np.asarray(depth) == 0).any():
        at = np.unravel_index(zero.argmax(), zero.shape)
        position = str(list(map(int, at))) if at else ""
        raise ValueError(f"{name}{position}: depth of 0; allowed: points outside the plane of the camera")


def _text(vector: Any) -> str:
    return "(" + ", ".join(f"{float(v):g}" for v in vector) + ")"
