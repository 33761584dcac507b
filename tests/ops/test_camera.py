"""Cameras: OpenCV's numbers, closed forms, round trips and bad input."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dlcore.ops import camera

GOLDENS = np.load(Path(__file__).parents[1] / "goldens" / "classical_vision.npz")
CASE = {
    name: GOLDENS[f"project_points/{name}"] for name in ("in.X", "in.rvec", "in.t", "in.K", "in.dist", "out", "out.R")
}
K, T = CASE["in.K"], CASE["in.t"]
R = CASE["out.R"]


@pytest.mark.covers("CL-01", "CL-02", "CL-04")
def test_projection_is_opencvs():
    """cv2.projectPoints with k1, k2, p1, p2, k3; in float32, of pixels up to 500."""

    @jax.jit
    def run(points, vector):
        rotation = camera.rotation_from_vector(vector)
        pixels, depth = camera.project(points, K, rotation, T, CASE["in.dist"])
        back = camera.unproject(pixels, depth, K, rotation, T, CASE["in.dist"])
        return rotation, pixels, depth, back

    rotation, pixels, depth, back = run(CASE["in.X"], CASE["in.rvec"])
    np.testing.assert_allclose(rotation, R, atol=1e-6)
    np.testing.assert_allclose(pixels, CASE["out"], rtol=1e-5)
    np.testing.assert_allclose(depth, (CASE["in.X"] @ R.T + T)[:, 2], rtol=1e-5)
    np.testing.assert_allclose(back, CASE["in.X"], atol=1e-4)


@pytest.mark.covers("CL-01")
def test_extrinsics_invert_the_pose_of_the_camera():
    """[R | t] with t = -R C is the inverse of [[Rᵀ, C], [0, 1]], and the center goes to 0."""
    center = np.array([1.0, -2.0, 3.0])
    pose = np.block([[R.T, center[:, None]], [np.zeros((1, 3)), np.ones((1, 1))]])
    inverse = np.linalg.inv(pose)
    np.testing.assert_allclose(camera.camera_center(inverse[:3, :3], inverse[:3, 3]), center, atol=1e-5)
    np.testing.assert_allclose(camera.world_to_camera(center, inverse[:3, :3], inverse[:3, 3]), 0, atol=1e-5)
    matrix = np.asarray(camera.camera_matrix(K, inverse[:3, :3], inverse[:3, 3]))
    np.testing.assert_allclose(matrix, K @ inverse[:3], rtol=1e-5, atol=1e-3)


@pytest.mark.covers("CL-02")
def test_intrinsics_by_hand():
    # x = (X, Y) / Z = (.5, .25); u = 100 * .5 + 4 * .25 + 32 = 83, v = 80 * .25 + 24 = 44
    @jax.jit
    def run(point):
        intrinsics = camera.intrinsic_matrix(100.0, 80.0, 32.0, 24.0, skew=4.0)
        pixels, depth = camera.project(point, intrinsics)
        return intrinsics, pixels, depth, camera.unproject(pixels, depth, intrinsics)

    intrinsics, pixels, depth, back = run(jnp.array([2.0, 1.0, 4.0]))
    np.testing.assert_array_equal(intrinsics, [[100, 4, 32], [0, 80, 24], [0, 0, 1]])
    np.testing.assert_allclose(pixels, [83, 44])
    assert depth == 4
    np.testing.assert_allclose(back, [2, 1, 4], rtol=1e-6)


@pytest.mark.covers("CL-03")
def test_the_target_is_on_the_optical_axis_and_up_is_up():
    center, target = jnp.array([1.0, 2.0, -4.0]), jnp.array([3.0, 1.0, 0.0])
    rotation, translation = camera.look_at(center, target)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-6)
    assert float(np.linalg.det(np.asarray(rotation))) == pytest.approx(1, abs=1e-6)
    # |(2, -1, 4)| = sqrt(21)
    np.testing.assert_allclose(camera.world_to_camera(target, rotation, translation), [0, 0, 21**0.5], atol=1e-5)
    np.testing.assert_allclose(camera.camera_center(rotation, translation), center, atol=1e-5)
    above = camera.world_to_camera(target + jnp.array([0, 1.0, 0]), rotation, translation)
    assert above[1] < 0
    assert abs(above[0]) < 1e-6


@pytest.mark.covers("CL-04")
def test_a_ray_starts_at_the_center_and_depth_finds_the_point():
    origin, direction = jax.jit(lambda p: camera.pixel_rays(p, K, R, T, CASE["in.dist"]))(CASE["out"])
    np.testing.assert_allclose(origin, -np.linalg.inv(R) @ T, atol=1e-5)
    depth = (CASE["in.X"] @ R.T + T)[:, 2:]
    np.testing.assert_allclose(origin + depth * direction, CASE["in.X"], atol=1e-4)
    np.testing.assert_allclose((np.asarray(direction) @ R.T)[:, 2], 1, rtol=1e-5)


@pytest.mark.covers("CL-04")
def test_undistort_inverts_distort():
    plane = np.stack(np.meshgrid(np.linspace(-0.5, 0.5, 5), np.linspace(-0.4, 0.4, 4)), -1)
    run = jax.jit(lambda p, k: (d := camera.distort(p, k), camera.undistort(d, k)))
    for coefficients in ([-0.3, 0.1, 0.001, -0.002, 0.0], [0.2, -0.05, 0.002, 0.001, 0.01]):
        distorted, back = run(plane, np.array(coefficients))
        assert np.abs(distorted - plane).max() > 0.01
        np.testing.assert_allclose(back, plane, atol=1e-6)


@pytest.mark.covers("CL-04")
def test_strong_lenses_are_inverted_where_they_have_an_inverse():
    """Radial: r (1 + k r²) is monotone for k > 0, and for k = -.3 up to r² = 1 / .9, whose image is r' = .7027.

    Beyond that lies no point; of points on both sides of the fold the one nearer to the center is meant.
    """
    far = np.float32([[0.8, 0.6], [3.0, 0], [100, -50], [0, 1.05], [0, 0]])
    lenses = np.float32([[0.5, 0], [1, 0], [0.2, 0.4], [-0.45, 0.2], [-0.3, 0]])
    ends = np.float32([[0.7, 0], [0.71, 0], [0.5, 0.6], [3, 3], [0, 0.3]])

    @jax.jit
    @jax.vmap
    def run(lens):
        lens = jnp.append(lens, jnp.zeros(2))
        return camera.undistort(jnp.concatenate([camera.distort(far, lens), ends]), lens)

    back = np.asarray(run(lenses))
    for i in range(4):
        np.testing.assert_allclose(back[i, :5], far, rtol=2e-6, atol=1e-6)
    np.testing.assert_allclose(back[4, [0, 3, 4]], far[[0, 3, 4]], atol=1e-4)
    np.testing.assert_array_equal(np.isnan(back[4, 5:]).all(-1), [False, True, True, True, False])
    # .7 = r - .3 r³ has the roots 1 and 1.1.
    np.testing.assert_allclose(back[4, 5], [1, 0], atol=1e-5)


@pytest.mark.covers("CL-04")
@pytest.mark.slow
def test_the_inverse_has_the_inverse_derivatives_and_takes_whole_numbers():
    lens, point = np.float32([-0.3, 0.1, 0.01, 0.02]), np.float32([0.3, 0.4])

    @jax.jit
    def run(point, lens):
        back = camera.undistort(point, lens)
        slopes = jax.jacobian(camera.undistort, (0, 1))(point, lens)
        return (
            slopes,
            jax.jacobian(camera.distort, (0, 1))(back, lens),
            jax.vmap(camera.undistort, (0, None))(jnp.stack([point, 2 * point]), lens),
        )

    (by_point, by_lens), (there, lens_there), several = run(point, lens)
    np.testing.assert_allclose(by_point, np.linalg.inv(there), rtol=1e-5)
    np.testing.assert_allclose(by_lens, -by_point @ lens_there, atol=1e-6)
    np.testing.assert_allclose(camera.distort(several, lens), [point, 2 * point], atol=1e-6)
    # .92170 + .1 * .92170³ = 1
    got = camera.undistort(np.array([1, 0]), np.array([0.1, 0, 0, 0]))
    np.testing.assert_allclose(got, [0.921699, 0], atol=1e-6)
    for dtype in (np.int32, np.uint8):
        intrinsics = np.array([[50, 0, 32], [0, 40, 24], [0, 0, 1]], dtype)
        plane = camera.pixels_to_plane(np.array([[10, 20], [0, 5]], dtype), intrinsics)
        np.testing.assert_allclose(plane, [[-22 / 50, -4 / 40], [-32 / 50, -19 / 40]], rtol=1e-6)
        np.testing.assert_allclose(camera.project(np.array([4, 2, 2], dtype), intrinsics)[0], [132, 64])


@pytest.mark.covers("CL-01")
def test_axes_of_other_libraries():
    """A point right of, above and in front of the camera is (+, -, +) in OpenCV, (+, +, -) in OpenGL and (-, +, +) in
    PyTorch3D, whose matrix multiplies a row."""
    point = np.array([0.3, -0.7, 0.2])
    here = R @ point + T
    gl_rotation, gl_translation = camera.convert_extrinsics(R, T, "opencv", "opengl")
    np.testing.assert_allclose(gl_rotation @ point + gl_translation, here * [1, -1, -1], atol=1e-5)
    p3_rotation, p3_translation = camera.convert_extrinsics(R, T, "opencv", "pytorch3d")
    np.testing.assert_allclose(point @ p3_rotation + p3_translation, here * [-1, -1, 1], atol=1e-5)
    back = camera.convert_extrinsics(
        *camera.convert_extrinsics(gl_rotation, gl_translation, "opengl", "pytorch3d"), "pytorch3d", "opencv"
    )
    np.testing.assert_allclose(back[0], R, atol=1e-6)
    np.testing.assert_allclose(back[1], T, atol=1e-6)


@pytest.mark.slow
def test_rotations_have_gradients_at_zero():
    jacobian = jax.jit(jax.jacfwd(lambda v: camera.rotation_from_vector(v)[2, 1]))(jnp.zeros(3))
    np.testing.assert_allclose(jacobian, [1, 0, 0], atol=1e-6)


def test_bad_input_is_named():
    eye = np.eye(3)
    with pytest.raises(ValueError, match=r"intrinsics=.*singular .*; allowed: \[\[fx, skew, cx\]"):
        camera.intrinsic_matrix(0.0, 1.0, 0.0, 0.0)
    for row, column, value in ((1, 0, 0.5), (2, 0, 0.5), (2, 1, 0.5), (2, 2, 2.0)):
        changed = eye.copy()
        changed[row, column] = value
        with pytest.raises(ValueError, match=r"intrinsics=.*singular or not a matrix K"):
            camera.pixels_to_plane(np.zeros(2), changed)


@pytest.mark.covers("CL-02", "CL-04")
def test_pixels_have_whole_centers_and_a_point_beside_the_camera_is_finite_under_jit():
    np.testing.assert_array_equal(camera.pixel_grid(2, 3), [[[0, 0], [1, 0], [2, 0]], [[0, 1], [1, 1], [2, 1]]])
    pixels, depth = jax.jit(lambda p: camera.project(p, jnp.eye(3)))(jnp.array([1.0, 2, 0]))
    assert depth == 0
    assert np.isfinite(pixels).all()


@pytest.mark.covers("CL-02")
@pytest.mark.parametrize("angle", [5e-4, 0.02])
def test_small_rotations_are_those_of_the_formula(angle):
    """On both sides of where series take over: sin, and 1 - cos in float64."""
    got = np.asarray(jax.jit(camera.rotation_from_vector)(np.float32([0, 0, angle])), np.float64)
    assert got[1, 0] == pytest.approx(np.sin(angle), rel=1e-6)
    with jax.enable_x64(True):
        got = np.asarray(jax.jit(camera.rotation_from_vector)(np.array([0, 0, angle])))
    assert 1 - got[0, 0] == pytest.approx(2 * np.sin(angle / 2) ** 2, rel=5e-9, abs=0)
    assert got[1, 0] == pytest.approx(np.sin(angle), rel=1e-12)


@pytest.mark.covers("CL-04")
def test_every_coefficient_of_a_lens_by_hand():
    """r² = .25 + .16; the tangential part of x has r² + 2 x² by p2, that of y has r² + 2 y² by p1."""
    x, y, r2 = 0.5, -0.4, 0.41
    k1, k2, p1, p2, k3 = 0.1, 0.2, 0.03, 0.04, 0.5
    d = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    want = [x * d + 2 * p1 * x * y + p2 * (r2 + 2 * x**2), y * d + p1 * (r2 + 2 * y**2) + 2 * p2 * x * y]
    got = camera.distort(np.float32([x, y]), np.float32([k1, k2, p1, p2, k3]))
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_all_pixels_may_have_one_depth():
    pixels, intrinsics = np.float32([[1, 2], [5, 3]]), np.diag([2.0, 4.0, 1.0]).astype(np.float32)
    # x = z u / f of each pixel.
    np.testing.assert_allclose(camera.unproject(pixels, 8.0, intrinsics), [[4, 4, 8], [20, 6, 8]], rtol=1e-6)


def test_cameras_of_unequal_axes_equal_numpy():
    """Skew, both focal lengths, a rotation of three angles, and a shift."""
    rotation = Rotation.from_rotvec([0.3, -0.5, 0.7]).as_matrix().astype(np.float32)
    shift, k = np.float32([0.5, -0.25, 6]), np.float32([[100, 4, 32], [0, 80, 24], [0, 0, 1]])
    points = np.float32([[0.5, 1, 2], [-1, 0.25, 3], [2, -1, 1]])

    @jax.jit
    def call(points):
        turned = camera.project(points, k, rotation)
        shifted = camera.project(points, k, translation=shift)
        both, depth = camera.project(points, k, rotation, shift)
        back = camera.unproject(both, depth, k, rotation, shift)
        rays = camera.pixel_rays(both, k), camera.pixel_rays(both, k, rotation)
        return turned, shifted, (both, depth), back, rays, camera.camera_matrix(k, rotation, shift)

    turned, shifted, both, back, rays, matrix = call(points)
    for (pixels, depth), r, t in ((turned, rotation, 0), (shifted, np.eye(3), shift), (both, rotation, shift)):
        want = (points @ r.T + t) @ k.T
        np.testing.assert_allclose(pixels, want[:, :2] / want[:, 2:], rtol=1e-4)
        np.testing.assert_allclose(depth, want[:, 2], rtol=1e-5)
    np.testing.assert_allclose(back, points, atol=1e-4)
    np.testing.assert_allclose(matrix, k @ np.concatenate([rotation, shift[:, None]], 1), rtol=1e-5)
    directions = np.concatenate([both[0], np.ones((3, 1))], 1) @ np.linalg.inv(k).T
    for (origin, found), r in zip(rays, (np.eye(3), rotation), strict=True):
        np.testing.assert_array_equal(origin, 0)
        np.testing.assert_allclose(found, directions @ r, atol=1e-4)


def test_rotations_equal_scipys_for_several_vectors():
    vectors = np.float32([[[0.3, -0.5, 0.7], [np.pi / 2, 0, 0]], [[0, 0, -2], [1e-4, 2e-4, 0]]])
    want = Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix().reshape(2, 2, 3, 3)
    np.testing.assert_allclose(jax.jit(camera.rotation_from_vector)(vectors), want, atol=1e-6)


def test_looking_along_an_axis_by_hand():
    """Along z with y up: x goes left, down is -y. Of another up, its part across the view alone counts."""
    rotation, translation = camera.look_at(np.float32([1, 2, 3]), np.float32([1, 2, 8]))
    np.testing.assert_allclose(rotation, np.diag([-1.0, -1, 1]), atol=1e-6)
    np.testing.assert_allclose(translation, [1, 2, -3], atol=1e-6)
    rotation, _ = camera.look_at(np.float32([1, 2, 3]), np.float32([1, 2, 8]), (1e-3, 0, 5))
    np.testing.assert_allclose(rotation, [[0, 1, 0], [-1, 0, 0], [0, 0, 1]], atol=1e-6)
    for size in (1e-3, 1.0, 1e3):
        camera.look_at(np.zeros(3), np.float32([0, size, 0]), (4e-6, 1, 0))
        with pytest.raises(ValueError, match="parallel to the direction of view"):
            camera.look_at(np.zeros(3), np.float32([0, size, 0]), (5e-7, 1, 0))


def test_a_lens_of_four_numbers():
    """k3 is 0 where it is not given."""
    plane, lens = np.float32([[0.5, -0.4], [0.1, 0.3]]), np.float32([0.1, 0.2, 0.03, 0.04])
    intrinsics = np.float32([[4, 2, 1], [0, 8, 3], [0, 0, 1]])

    @jax.jit
    def call(plane):
        distorted = camera.distort(plane, lens), camera.distort(plane, np.append(lens, np.float32(0)))
        return distorted, camera.plane_to_pixels(plane, intrinsics, lens)

    distorted, onto = call(plane)
    np.testing.assert_allclose(*distorted, rtol=1e-6)
    x, y = plane.T
    r2 = x**2 + y**2
    d = 1 + 0.1 * r2 + 0.2 * r2**2
    offset = np.stack([0.06 * x * y + 0.04 * (r2 + 2 * x**2), 0.03 * (r2 + 2 * y**2) + 0.08 * x * y], -1)
    np.testing.assert_allclose(
        onto, (plane * d[:, None] + offset) @ intrinsics[:2, :2].T + intrinsics[:2, 2], rtol=1e-5
    )


def test_more_bad_input_is_named():
    eye = np.eye(3, dtype=np.float32)
    with pytest.raises(ValueError, match=r"points\[1, 0\]: depth of 0"):
        camera.project(np.float32([[[0, 0, 1], [0, 0, 1]], [[1, 1, 0], [0, 0, 1]]]), eye)
    with pytest.raises(ValueError, match=r"^depth: depth of 0"):
        camera.unproject(np.zeros((2, 2), np.float32), 0.0, eye)
    for side in ((0, 3), (3, 0)):
        with pytest.raises(ValueError, match=r"(height|width)=0"):
            camera.pixel_grid(*side)
    np.testing.assert_array_equal(camera.pixel_grid(1, 1), np.zeros((1, 1, 2)))
    assert camera.pixel_grid(1, 1).dtype == np.float32
    with pytest.raises(ValueError, match="singular"):
        camera.check_intrinsics(np.diag([1.0, 0, 1]))
    camera.check_intrinsics(np.diag([-2.0, 3, 1]))  # a mirrored camera
    for other in ((eye[:2], np.zeros(3)), (eye, np.zeros(2))):
        with pytest.raises(ValueError, match=r"(rotation|translation)=.*: wrong shape"):
            camera.world_to_camera(np.zeros((2, 3), np.float32), *other)


def test_a_rotation_of_bytes_is_that_of_their_numbers():
    vector = np.array([1, 2, 5], np.uint8)
    expected = Rotation.from_rotvec(vector.astype(float)).as_matrix()
    np.testing.assert_allclose(camera.rotation_from_vector(vector), expected, atol=1e-6)
    np.testing.assert_array_equal(camera.camera_center(np.eye(3, dtype=np.uint8), vector), [-1, -2, -5])


def test_a_map_has_the_pixels_of_the_same_scene_near_0():
    """Meters of UTM, where float32 has steps of half a meter: nothing depends on where the origin is."""
    origin = np.array([396_388.06, 5_782_566.1, 50])
    rotation = Rotation.from_rotvec([0.2, -0.3, 0.1]).as_matrix()
    near = np.array([[0.5, 0.2, 5.0], [-0.3, 0.1, 4.0]])
    points, translation = near + origin, -rotation @ origin
    expected = near @ rotation.T
    for turn in (rotation, jnp.eye(3)):
        in_camera = camera.world_to_camera(points, turn, -np.asarray(turn) @ origin)
        np.testing.assert_allclose(in_camera, near @ np.asarray(turn).T, atol=1e-6)
    intrinsics = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
    pixels, depth = camera.project(points, intrinsics, rotation, translation)
    np.testing.assert_allclose(depth, expected[:, 2], rtol=1e-6)
    np.testing.assert_allclose(pixels, 500 * expected[:, :2] / expected[:, 2:] + [320, 240], rtol=1e-5)
    np.testing.assert_allclose(camera.camera_center(rotation, translation), origin, atol=1e-6)
    np.testing.assert_allclose(camera.unproject(pixels, depth, intrinsics, rotation, translation), points, atol=1e-5)
    matrix = camera.camera_matrix(intrinsics, rotation, translation)
    np.testing.assert_allclose(matrix @ [*points[0], 1], np.array([*pixels[0], 1]) * depth[0], rtol=1e-5)
    turn, shift = camera.look_at(origin, points[0])
    np.testing.assert_allclose(turn @ points[0] + shift, [0, 0, np.linalg.norm(near[0])], atol=1e-6)
    np.testing.assert_array_equal(camera.convert_extrinsics(turn, shift, "opencv", "opengl")[1], shift * [1, -1, -1])
