"""Camera calibration: the intrinsics and the lens from points of known location.

Zhang 2000, "A flexible new technique for camera calibration", IEEE PAMI 22; Hartley & Zisserman 2004, section 7.1.

    one image of a solid   P = argmin |A p|, |p| = 1 (DLT);   P = K [R | t] by an RQ decomposition
    images of a plane      H = K [r₁ r₂ t] of each;   r₁·r₂ = 0 and |r₁| = |r₂| are linear in K⁻ᵀ K⁻¹, which gives K
    then                   min over K, k, R, t of Σ |pixel - project(X)|², by Levenberg-Marquardt

In float64, exact without noise where `converged` says so. With V images of N points and noise σ the remaining RMS of a
coordinate is σ √(1 - p / 2VN), p the number of parameters.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_whole_number
from dlcore.classical_vision.homography import fit_homography, normalize_points, solve_dlt
from dlcore.ops.camera import distort, rotation_from_vector
from dlcore.ops.checks import check_finite, check_shapes, check_weights
from dlcore.ops.precision import product, to_namespace

__all__ = ["Calibration", "calibrate_plane", "calibrate_solid", "decompose_camera_matrix", "fit_camera_matrix"]


class Calibration(NamedTuple):
    """A calibrated camera, float64.

    Args:
      intrinsics: [3, 3].
      distortion: [5], k1, k2, p1, p2, k3; 0 where not estimated.
      rotations: [V, 3, 3], world to camera, of each image.
      translations: [V, 3].
      errors: [V, N, 2], pixels minus projections.
      num_parameters: number of parameters of the fit.
      converged: whether the errors stopped falling; False asks for more steps or another start.
    """

    intrinsics: np.ndarray
    distortion: np.ndarray
    rotations: np.ndarray
    translations: np.ndarray
    errors: np.ndarray
    num_parameters: int
    converged: bool

    @property
    def rms(self) -> float:
        """Root mean square of the errors of one coordinate, in pixels."""
        return float(np.sqrt(np.square(self.errors).mean()))


def fit_camera_matrix(points: jax.Array, pixels: jax.Array, weights: jax.Array | None = None) -> jax.Array:
    """Fit a camera matrix to points of a solid by the normalized DLT.

    Args:
      points: [N, 3], N at least 6, not all on a plane.
      pixels: [N, 2].
      weights: [N], 0 leaves a point out; None for ones.

    Returns:
      [3, 4], of norm 1, NumPy's float64 of arrays of the host.
    """
    xp, points, pixels, weights = to_namespace(points, pixels, weights)
    if points.shape[1:] != (3,) or pixels.shape != (len(points), 2) or len(points) < 6:
        raise ValueError(
            f"points.shape={points.shape}, pixels.shape={pixels.shape}: do not fit; allowed: [N, 3] and [N, 2], N at "
            "least 6"
        )
    if not isinstance(points, jax.core.Tracer) and not isinstance(pixels, jax.core.Tracer):
        check_finite("points", points)
        check_finite("pixels", pixels)
        spread = np.linalg.svd(np.asarray(points, np.float64) - np.mean(points, 0), compute_uv=False)
        if spread[2] <= 1e-6 * spread[0]:
            raise ValueError("points: on one plane; allowed: points of a solid, or calibrate_plane for a plane")
    check_weights(weights, 6)
    (p, to_p), (q, to_q) = normalize_points(points, weights), normalize_points(pixels, weights)
    matrix = product(xp.linalg.inv(to_q), solve_dlt(p, q, weights), to_p)
    return matrix / xp.linalg.norm(matrix)


def decompose_camera_matrix(matrix: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Take a camera matrix apart: P ~ K [R | t], by an RQ decomposition.

    Args:
      matrix: [3, 4], up to scale.

    Returns:
      (intrinsics [3, 3] with positive focal lengths, rotation [3, 3], translation [3]), NumPy's float64 of an array of
      the host.
    """
    check_shapes(matrix=(matrix, "3 4"))
    check_finite("matrix", matrix)
    if not isinstance(matrix, jax.core.Tracer) and np.linalg.matrix_rank(np.asarray(matrix, np.float64)[:, :3]) < 3:
        raise ValueError(f"matrix={np.asarray(matrix).tolist()}: its left part is singular; allowed: K [R | t]")
    xp, matrix = to_namespace(matrix)
    matrix = matrix * xp.sign(xp.linalg.det(matrix[:, :3]))
    # RQ by QR of the matrix with its rows reversed.
    q, r = xp.linalg.qr(matrix[::-1, :3].T)
    upper, rotation = r.T[::-1, ::-1], q.T[::-1]
    # Focal lengths are positive.
    signs = xp.sign(xp.diag(upper))
    upper, rotation = upper * signs, signs[:, None] * rotation
    return upper / upper[2, 2], rotation, xp.linalg.solve(upper, matrix[:, 3])


def calibrate_solid(
    points: np.ndarray,
    pixels: np.ndarray,
    num_distortion: Literal[0, 2, 4, 5] = 0,
    skew: bool = False,
    steps: int = 200,
) -> Calibration:
    """Calibrate from one image of points that are not on a plane.

    Args:
      points: [N, 3], N at least 6.
      pixels: [N, 2].
      num_distortion: how many of k1, k2, p1, p2, k3 are estimated.
      skew: whether the skew is estimated, or 0.
      steps: most steps of Levenberg-Marquardt that lower the error.

    Returns:
      Calibration of one image.
    """
    check_shapes(points=(points, "N 3"), pixels=(pixels, "N 2"))
    points, pixels = np.asarray(points, np.float64), np.asarray(pixels, np.float64)
    _check_settings(num_distortion, steps)
    with jax.enable_x64(True):
        intrinsics, rotation, translation = decompose_camera_matrix(fit_camera_matrix(points - points.mean(0), pixels))
        start = (intrinsics, rotation[None], translation[None])
        return _refine(points, pixels[None], start, num_distortion, skew, steps)


def calibrate_plane(
    points: np.ndarray,
    pixels: np.ndarray,
    num_distortion: Literal[0, 2, 4, 5] = 0,
    skew: bool = False,
    steps: int = 200,
) -> Calibration:
    """Calibrate from several images of a plane, such as a checkerboard.

    Args:
      points: [N, 2], locations on the plane, whose z is 0.
      pixels: [V, N, 2], the same points in each image.
      num_distortion: how many of k1, k2, p1, p2, k3 are estimated.
      skew: whether the skew is estimated, or 0.
      steps: most steps of Levenberg-Marquardt that lower the error.

    Returns:
      Calibration of V images.
    """
    check_finite("points", points)
    check_finite("pixels", pixels)
    points, pixels = np.asarray(points, np.float64), np.asarray(pixels, np.float64)
    _check_settings(num_distortion, steps)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 4 or pixels.shape[1:] != points.shape:
        raise ValueError(
            f"points.shape={points.shape}, pixels.shape={pixels.shape}: do not fit; allowed: [N, 2] and [V, N, 2], N "
            "at least 4"
        )
    if len(pixels) < 2 + skew:
        raise ValueError(f"pixels: {len(pixels)} images; allowed: at least {2 + skew}")
    for name, side in (("points", points[None]), ("pixels", pixels)):
        spread = np.linalg.svd(side - side.mean(1, keepdims=True), compute_uv=False)
        if (spread[:, 1] <= 1e-6 * spread[:, 0]).any():
            raise ValueError(f"{name}: on one line; allowed: points of a plane")
    center = points.mean(0)
    with jax.enable_x64(True):
        intrinsics, rotations, translations, conditioning = jax.jit(_zhang, static_argnums=2)(
            points - center, pixels, skew
        )
        if not np.isfinite(intrinsics).all() or conditioning < 1e-7:
            raise ValueError("pixels: images of parallel planes; allowed: planes of two directions or more")
        solid = np.concatenate([points, np.zeros_like(points[:, :1])], 1)
        return _refine(solid, pixels, (intrinsics, rotations, translations), num_distortion, skew, steps)


def _zhang(points, pixels, skew):
    """Of points of mean 0: (K, R [V, 3, 3], t [V, 3], the last but one singular value over the first)."""
    homographies = jax.vmap(lambda image: fit_homography(points, image))(pixels)
    _, to_unit = normalize_points(pixels.reshape(-1, 2))
    h = jnp.einsum("ij,vjk->vik", to_unit, homographies)
    h /= jnp.linalg.norm(h[:, :, :2], axis=(1, 2), keepdims=True)  # one weight for all views

    def constraint(i, j):
        a, b = h[:, :, i], h[:, :, j]
        cross = a[:, 0] * b[:, 1] + a[:, 1] * b[:, 0]
        columns = [a[:, 0] * b[:, 0], cross, a[:, 1] * b[:, 1]]
        columns += [a[:, 2] * b[:, 0] + a[:, 0] * b[:, 2], a[:, 2] * b[:, 1] + a[:, 1] * b[:, 2], a[:, 2] * b[:, 2]]
        return jnp.stack(columns if skew else [c for n, c in enumerate(columns) if n != 1], 1)

    # The images of two orthogonal axes of equal length constrain the image of the absolute conic.
    rows = jnp.concatenate([constraint(0, 1), constraint(0, 0) - constraint(1, 1)])
    rows = jnp.concatenate([rows, jnp.zeros((2, rows.shape[1]))])
    _, values, vectors = jnp.linalg.svd(rows, full_matrices=False)
    # The conic is K⁻ᵀ K⁻¹ up to scale; its entries give the intrinsics in closed form (Zhang, appendix B).
    b = vectors[-1] * jnp.sign(vectors[-1][0])
    b11, b12, b22, b13, b23, b33 = b if skew else (b[0], 0.0, *b[1:])
    determinant = b11 * b22 - b12**2
    cy = (b12 * b13 - b11 * b23) / determinant
    scale = b33 - (b13**2 + cy * (b12 * b13 - b11 * b23)) / b11
    fx, fy = jnp.sqrt(scale / b11), jnp.sqrt(scale * b11 / determinant)
    gamma = -b12 * fx**2 * fy / scale
    cx = gamma * cy / fy - b13 * fx**2 / scale
    unit = jnp.array([[fx, gamma, cx], [0, fy, cy], [0, 0, 1]])
    # Extrinsics: K⁻¹ H = [r1, r2, t] up to scale.
    columns = jnp.linalg.solve(unit, h)
    columns /= jnp.linalg.norm(columns[:, :, :1], axis=1, keepdims=True)
    # The plane is in front of the camera: so is the mean of its points, which is 0.
    columns *= jnp.sign(columns[:, 2:, 2:])
    r1, r2 = columns[:, :, 0], columns[:, :, 1]
    # The nearest rotation.
    u, _, vt = jnp.linalg.svd(jnp.stack([r1, r2, jnp.cross(r1, r2)], -1))
    return jnp.linalg.solve(to_unit, unit), u @ vt, columns[:, :, 2], values[-2] / values[0]


def _check_settings(num_distortion, steps):
    if num_distortion not in (0, 2, 4, 5):
        raise ValueError(f"num_distortion={num_distortion}: unknown; allowed: 0, 2, 4 or 5")
    check_whole_number("steps", steps, 0)


def _refine(points, pixels, start, num_distortion, skew, steps):
    """The calibration; the start is that of the points minus their mean, about which the views turn."""
    free = np.array([True] * 4 + [skew] + [i < num_distortion for i in range(5)] + [True] * 6 * len(pixels))
    center = points.mean(0)
    *parts, converged = _levenberg_marquardt(points - center, pixels, start, free, steps)
    intrinsics, distortion, rotations, translations, errors = (np.asarray(part) for part in parts)
    translations = translations - rotations @ center
    return Calibration(intrinsics, distortion, rotations, translations, errors, int(free.sum()), bool(converged))


@jax.jit
def _levenberg_marquardt(points, pixels, start, free, steps):
    intrinsics, rotations, translations = start
    (fx, gamma, cx), (_, fy, cy) = intrinsics[0], intrinsics[1]
    lens = jnp.concatenate([jnp.stack([fx, fy, cx, cy, gamma * free[4]]), jnp.zeros(5)])
    views = len(pixels)

    def move(state, change):
        lens, rotations, translations = state
        turn, shift = change[10:].reshape(2, views, 3)
        return lens + change[:10], rotation_from_vector(turn) @ rotations, translations + shift

    def errors_of(state):
        lens, rotations, translations = state
        camera = jnp.einsum("vij,nj->vni", rotations, points) + translations[:, None]
        x, y = jnp.moveaxis(distort(camera[..., :2] / camera[..., 2:], lens[5:]), -1, 0)
        return pixels - jnp.stack([lens[0] * x + lens[4] * y + lens[2], lens[1] * y + lens[3]], -1)

    def step(carry):
        state, damping, count, _ = carry
        errors = errors_of(state).ravel()
        # Fixed parameters have columns of zeros.
        jacobian = jax.jacfwd(lambda c: errors_of(move(state, c)).ravel())(jnp.zeros(len(free))) * free
        normal = jacobian.T @ jacobian
        scale = jnp.sqrt(jnp.where(jnp.diag(normal) > 0, jnp.diag(normal), 1))
        matrix = normal / scale / scale[:, None] + jnp.diag(jnp.where(free, damping, 1))
        change = -jnp.linalg.solve(matrix, jacobian.T @ errors / scale) / scale * free
        candidate = move(state, change)
        before, after = jnp.square(errors).sum(), jnp.square(errors_of(candidate)).sum()
        better = after < before
        state = jax.tree.map(lambda new, old: jnp.where(better, new, old), candidate, state)
        # At the minimum errors fall no more, by whatever step.
        damping = jnp.where(better, jnp.maximum(damping / 10, 1e-12), damping * 10)
        converged = jnp.where(better, before - after <= 1e-12 * before, damping > 1e10)
        return state, damping, count + better, converged

    def goes_on(carry):
        return (carry[2] < steps) & ~carry[3]

    state = (lens, rotations, translations)
    state, _, _, converged = jax.lax.while_loop(goes_on, step, (state, jnp.asarray(1e-6), 0, jnp.asarray(False)))
    fx, fy, cx, cy, gamma = state[0][:5]
    intrinsics = jnp.array([[fx, gamma, cx], [0, fy, cy], [0, 0, 1]])
    return intrinsics, state[0][5:], *state[1:], errors_of(state), converged
