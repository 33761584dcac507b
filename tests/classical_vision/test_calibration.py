"""Calibration: exact without noise, within its expected error with noise, and what bad input gets."""

import jax
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dlcore.classical_vision.calibration import (
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


@pytest.mark.covers("CL-05")
def test_one_image_of_a_solid_gives_the_camera():
    points = np.random.default_rng(0).uniform(-1, 1, (8, 3))
    rotation = Rotation.from_rotvec([0.3, -0.5, 0.2]).as_matrix()
    skewed = K + np.array([[0, 3.0, 0], [0, 0, 0], [0, 0, 0]])
    pixels = project(points, rotation, [0.1, -0.2, 5], skewed)
    with jax.enable_x64(True):
        parts = jax.jit(lambda p, q: decompose_camera_matrix(fit_camera_matrix(p, q)))(points, pixels)
    for part, expected in zip(parts, (skewed, rotation, [0.1, -0.2, 5]), strict=True):
        np.testing.assert_allclose(part, expected, rtol=1e-8, atol=1e-8)


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


def test_bad_input_is_named():
    grid, pixels, _, _ = board()
    with pytest.raises(ValueError, match=r"points.shape=\(3, 2\).*N at least 4"):
        calibrate_plane(grid[:3], pixels[:, :3])
    with pytest.raises(ValueError, match="pixels: 1 images; allowed: at least 2"):
        calibrate_plane(grid, pixels[:1])
    with pytest.raises(ValueError, match="points: on one line; allowed: points of a plane"):
        calibrate_plane(grid[:7], pixels[:, :7])
    bad = pixels.copy()
    bad[1, 2, 0] = np.nan
    with pytest.raises(ValueError, match=r"pixels\[1, 2, 0\]=nan: not finite"):
        calibrate_plane(grid, bad)
    with pytest.raises(ValueError, match="points: on one plane; allowed: points of a solid"):
        fit_camera_matrix(np.concatenate([grid, grid[:, :1]], 1), pixels[0])
    with pytest.raises(ValueError, match=r"points.shape=\(5, 3\).*N at least 6"):
        fit_camera_matrix(np.zeros((5, 3)), np.zeros((5, 2)))
