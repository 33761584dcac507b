"""Calibration: exact without noise, within its expected error with noise, and what bad input gets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dlcore.classical_vision import calibration
from dlcore.classical_vision.calibration import (
    Calibration,
    calibrate_plane,
    calibrate_solid,
    decompose_camera_matrix,
    fit_camera_matrix,
)

K = np.array([[800.0, 0, 320], [0, 760, 250], [0, 0, 1]])
LENS = np.array([-0.2, 0.05, 0.001, -0.002, 0.0])


def project(points, rotation, translation, intrinsics=K, lens=LENS * 0):
    """NumPy, [N, 3] to [N, 2]."""
    x, y, z = (points @ rotation.T + translation).T
    x, y = x / z, y / z
    k1, k2, p1, p2, k3 = lens
    r2 = x**2 + y**2
    d = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    x, y = x * d + 2 * p1 * x * y + p2 * (r2 + 2 * x**2), y * d + p1 * (r2 + 2 * y**2) + 2 * p2 * x * y
    return np.stack([intrinsics[0] @ [x, y, np.ones_like(x)], intrinsics[1] @ [x, y, np.ones_like(x)]], 1)


def board(views=5, noise=0.0, side=7, **lens):
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2) - (side - 1) / 2
    solid = np.concatenate([grid, np.zeros((len(grid), 1))], 1)
    rng = np.random.default_rng(0)
    rotations = Rotation.from_rotvec(rng.uniform(-0.6, 0.6, (views, 3))).as_matrix()
    translations = rng.uniform([-1, -1, 9], [1, 1, 13], (views, 3))
    pixels = np.stack([project(solid, r, t, **lens) for r, t in zip(rotations, translations, strict=True)])
    return grid, pixels + noise * rng.normal(size=pixels.shape), rotations, translations


SKEWED = K + np.array([[0, 3.0, 0], [0, 0, 0], [0, 0, 0]])


@pytest.mark.covers("CL-05")
def test_one_image_of_a_solid_gives_the_camera():
    """Six points are enough, and a seventh, which is wrong, has weight 0."""
    points = np.random.default_rng(0).uniform(-1, 1, (7, 3))
    rotation = Rotation.from_rotvec([0.3, -0.5, 0.2]).as_matrix()
    pixels = project(points, rotation, [0.1, -0.2, 5], SKEWED)
    pixels[6] += 50

    def fit(points, pixels, weights):
        plain = fit_camera_matrix(points[:6], pixels[:6])
        return decompose_camera_matrix(plain), plain, fit_camera_matrix(points, pixels, weights)

    with jax.enable_x64(True):
        parts, plain, weighted = jax.jit(fit)(points, pixels, np.array([1.0] * 6 + [0]))
    for part, expected in zip(parts, (SKEWED, rotation, [0.1, -0.2, 5]), strict=True):
        np.testing.assert_allclose(part, expected, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(weighted * np.sign(weighted[2, 3] * plain[2, 3]), plain, atol=1e-10)
    assert np.linalg.norm(weighted) == pytest.approx(1)


@pytest.mark.covers("CL-05")
def test_images_of_a_plane_give_the_camera_in_closed_form():
    """Without noise the start of the refinement is the camera already, its skew included."""
    grid, pixels, rotations, translations = board(views=3, side=2, intrinsics=SKEWED)
    with jax.enable_x64(True):
        found = jax.jit(calibration._zhang, static_argnums=2)(grid, pixels, True)
    np.testing.assert_allclose(found[0], SKEWED, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found[1], rotations, atol=1e-7)
    np.testing.assert_allclose(found[2], translations, rtol=1e-6)
    assert found[3] > 1e-7


def test_the_refinement_finds_the_lens_and_the_skew():
    points = np.random.default_rng(0).uniform(-1, 1, (12, 3))
    rotation, lens = Rotation.from_rotvec([0.3, -0.5, 0.2]).as_matrix(), np.array([-0.2, 0.05, 0.001, -0.002, 0.03])
    pixels = project(points, rotation, [0.1, -0.2, 3], SKEWED, lens)
    near = np.array([[780.0, 0, 300], [0, 780, 240], [0, 0, 1]])
    start = near, np.eye(3)[None], np.array([[0, 0, 3.0]])
    with jax.enable_x64(True):
        found = calibration._refine(points, pixels[None], start, 5, True, 30)
    np.testing.assert_allclose(found.intrinsics, SKEWED, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.distortion, lens, atol=1e-5)
    np.testing.assert_allclose(found.rotations[0], rotation, atol=1e-6)
    np.testing.assert_allclose(found.translations[0], [0.1, -0.2, 3], atol=1e-5)
    assert found.rms < 1e-6
    assert found.num_parameters == 5 + 5 + 6


def depths(found, solid):
    return (np.einsum("vij,nj->vni", found.rotations, solid) + found.translations[:, None])[..., 2]


@pytest.mark.covers("CL-05")
def test_planes_are_in_front_of_the_camera_wherever_their_origin_is():
    """Moved on the board by an offset, the same pixels give the same rotations, and t - R (offset, 0)."""
    grid, pixels, rotations, translations = board(views=4, side=5)
    true = grid @ rotations[:, 2, :2].T + translations[:, 2]
    for offset in ((0, 0), (30, 0), (-100, 0), (0, 170), (1e5, -3e5)):
        found = calibrate_plane(grid + offset, pixels)
        np.testing.assert_allclose(found.intrinsics, K, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(found.rotations, rotations, atol=1e-8)
        solid = np.concatenate([grid + offset, np.zeros((len(grid), 1))], 1)
        np.testing.assert_allclose(depths(found, solid), true.T, rtol=1e-6)
        assert found.converged


@pytest.mark.covers("CL-05")
@pytest.mark.slow(only=["lens1"])
@pytest.mark.parametrize("lens", [(-0.45, 0.2), (0.6, 0.2)])
def test_a_strong_lens_is_found_and_too_few_steps_are_said(lens):
    """Exact without noise, as is OpenCV 5.0.0's calibrateCamera from its own start."""
    intrinsics = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
    grid, pixels, rotations, _ = board(views=4, side=7, intrinsics=intrinsics, lens=np.array([*lens, 0, 0, 0]))
    found = calibrate_plane(grid, pixels, num_distortion=2)
    assert found.converged
    np.testing.assert_allclose(found.intrinsics, intrinsics, atol=1e-6)
    np.testing.assert_allclose(found.distortion, [*lens, 0, 0, 0], atol=1e-8)
    np.testing.assert_allclose(found.rotations, rotations, atol=1e-8)
    assert found.rms < 1e-9
    few = calibrate_plane(grid, pixels, num_distortion=2, steps=2)
    assert not few.converged
    assert few.rms > 1e-3


@pytest.mark.covers("CL-05")
def test_a_solid_far_from_the_origin_gives_the_same_camera():
    points = np.random.default_rng(0).uniform(-1, 1, (12, 3))
    rotation, shift, far = Rotation.from_rotvec([0.3, -0.5, 0.2]).as_matrix(), np.array([0.1, -0.2, 5]), [4e5, -5e6, 90]
    pixels = project(points, rotation, shift, SKEWED)
    found = calibrate_solid(points + far, pixels, skew=True)
    np.testing.assert_allclose(found.intrinsics, SKEWED, rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(found.rotations[0], rotation, atol=1e-8)
    np.testing.assert_allclose(found.translations[0] + found.rotations[0] @ far, shift, atol=1e-6)
    assert found.num_parameters == 4 + 1 + 6
    assert calibrate_solid(points, pixels, num_distortion=2, steps=1).num_parameters == 4 + 2 + 6


def test_planes_of_one_direction_are_refused():
    grid, pixels, _, _ = board(views=3, side=3)
    assert calibrate_plane(grid, pixels, num_distortion=4, skew=True, steps=1).num_parameters == 4 + 1 + 4 + 3 * 6
    with pytest.raises(ValueError, match="pixels: 2 images; allowed: at least 3"):
        calibrate_plane(grid, pixels[:2], skew=True)
    with pytest.raises(ValueError, match="images of parallel planes; allowed: planes of two directions or more"):
        calibrate_plane(grid, np.stack([pixels[0]] * 3))


@pytest.mark.covers("CL-05")
@pytest.mark.slow
def test_whole_numbers_give_the_camera_matrix_too():
    points, pixels = np.random.default_rng(0).integers(-20, 20, (8, 3)), np.zeros((8, 2), int)
    pixels[:] = np.round(project(points, np.eye(3), [2, -1, 60.0]))
    want = fit_camera_matrix(points.astype(float), pixels.astype(float))
    for got in (fit_camera_matrix(points, pixels), fit_camera_matrix(jnp.asarray(points), jnp.asarray(pixels))):
        np.testing.assert_allclose(got * np.sign(got[2, 3]), want * np.sign(want[2, 3]), atol=1e-4)


def test_the_remaining_error_is_that_of_a_coordinate():
    """Errors (3, 4) and (0, 0) of two points: the root of (9 + 16 + 0 + 0) / 4."""
    zero = np.zeros(())
    assert Calibration(zero, zero, zero, zero, np.array([[[3.0, 4.0], [0, 0]]]), 10, True).rms == 2.5


@pytest.mark.slow
@pytest.mark.covers("CL-05")
def test_five_images_of_a_plane_give_the_camera_and_the_lens():
    grid, pixels, rotations, translations = board(lens=LENS)
    found = calibrate_plane(grid, pixels, num_distortion=4)
    np.testing.assert_allclose(found.intrinsics, K, rtol=1e-6)
    np.testing.assert_allclose(found.distortion, LENS, atol=1e-6)
    np.testing.assert_allclose(found.rotations, rotations, atol=1e-6)
    np.testing.assert_allclose(found.translations, translations, rtol=1e-6)
    assert found.rms < 1e-6
    assert found.num_parameters == 4 + 4 + 6 * 5


@pytest.mark.weekly
def test_a_solid_gives_the_lens_too():
    points = np.random.default_rng(0).uniform(-1, 1, (40, 3))
    rotation = Rotation.from_rotvec([0.3, -0.5, 0.2]).as_matrix()
    found = calibrate_solid(points, project(points, rotation, [0.1, -0.2, 5], lens=LENS), num_distortion=4)
    np.testing.assert_allclose(found.intrinsics, K, rtol=1e-6)
    np.testing.assert_allclose(found.distortion, LENS, atol=1e-5)


@pytest.mark.weekly
@pytest.mark.covers("CL-05")
def test_with_noise_the_error_is_the_expected_one():
    """Half a pixel of noise on 5 images of 15 x 15 points: 34 parameters, RMS .5 sqrt(1 - 34 / 2250) = .496."""
    grid, pixels, _, _ = board(noise=0.5, side=15)
    found = calibrate_plane(grid, pixels)
    np.testing.assert_allclose(np.diag(found.intrinsics)[:2], [800, 760], rtol=0.01)
    assert found.rms == pytest.approx(0.5 * np.sqrt(1 - 34 / (2 * 5 * 225)), rel=0.05)


def test_a_camera_of_any_sign_is_taken_apart():
    rotation = Rotation.from_rotvec([0.3, -0.5, 0.2]).as_matrix()
    matrix = -0.5 * SKEWED @ np.column_stack([rotation, [0.1, -0.2, 5]])
    found = jax.jit(lambda: decompose_camera_matrix(matrix))()
    for part, expected in zip(found, (SKEWED, rotation, [0.1, -0.2, 5]), strict=True):
        np.testing.assert_allclose(part, expected, rtol=1e-4, atol=1e-4)


def test_exact_views_along_the_axes_give_the_camera():
    """Of a frontal view one equation is 0 = 0, which has no weight."""
    grid = np.array([[x, y] for x in (-1.0, 0, 1) for y in (-1.0, 0, 1)])
    solid = np.concatenate([grid, np.zeros((9, 1))], 1)
    rotations = Rotation.from_rotvec([[0, 0, 0], [0.3, 0, 0], [0, 0.3, 0]]).as_matrix()
    pixels = np.stack([project(solid, rotation, [0, 0, 5]) for rotation in rotations])
    with jax.enable_x64(True):
        start = jax.jit(calibration._zhang, static_argnums=2)(grid, pixels, False)[0]
    np.testing.assert_allclose(start, K, rtol=1e-6, atol=1e-6)
