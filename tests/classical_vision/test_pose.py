"""Localization: a known pose, outliers, and bad input."""

import jax
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dlcore.classical_vision.pose import ransac_pose, solve_pose

K = np.array([[500.0, 0, 320], [0, 480, 240], [0, 0, 1]], np.float32)
R, T = Rotation.from_rotvec([0.3, -0.4, 0.2]).as_matrix(), np.array([0.2, -0.1, 6.0])


def view(count):
    points = np.random.default_rng(0).uniform(-2, 2, (count, 3)).astype(np.float32)
    camera = points @ R.T + T
    return points, ((camera / camera[:, 2:]) @ K.T)[:, :2].astype(np.float32)


def test_six_points_locate_the_camera():
    """The seventh is wrong, and has the weight 0."""
    points, pixels = view(7)
    pixels[6] += 50
    weights = np.array([1, 1, 1, 1, 1, 1, 0], np.float32)
    found = jax.jit(lambda p, q: solve_pose(p, q, K, weights, steps=3))(points, pixels)
    np.testing.assert_allclose(found.rotation, R, atol=1e-3)
    np.testing.assert_allclose(found.translation, T, atol=1e-2)


def test_whole_numbers_are_points_and_pixels():
    points = np.random.default_rng(0).integers(-20, 20, (12, 3))
    camera = points @ R.T + 10 * T
    pixels = np.round(((camera / camera[:, 2:]) @ K.T)[:, :2])
    run = jax.jit(lambda p, q, k: solve_pose(p, q, k, np.ones(12, np.int32)))
    want = run(points.astype(np.float32), pixels.astype(np.float32), K)
    for dtype in (np.int32, np.int16):
        found = run(points.astype(dtype), pixels.astype(dtype), K.astype(dtype))
        np.testing.assert_allclose(found.rotation, want.rotation, atol=1e-5)
        np.testing.assert_allclose(found.translation, want.translation, rtol=1e-4)
    np.testing.assert_allclose(want.rotation, R, atol=5e-3)


@pytest.mark.slow
def test_a_point_of_weight_two_counts_twice_and_the_error_is_least():
    """Of noisy pixels: the gradient of the weighted squared errors by the pose is 0."""
    points, pixels = view(9)
    pixels = pixels + np.random.default_rng(1).normal(size=(9, 2))
    twice = np.array([0, 0, 1, 2, 3, 3, 3, 4, 5, 6, 7, 8])
    weights = np.bincount(twice).astype(float)
    with jax.enable_x64(True):
        run = jax.jit(lambda p, q: (solve_pose(p, q, K, weights), solve_pose(p[twice], q[twice], K)))
        weighted, repeated = jax.device_get(run(points.astype(float), pixels))
    for ours, theirs in zip(weighted, repeated, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-7)

    def total(change):
        camera = points @ (Rotation.from_rotvec(change[:3]).as_matrix() @ weighted.rotation).T
        camera = camera + weighted.translation + change[3:]
        image = (camera @ K.T / camera[:, 2:])[:, :2]
        return (weights[:, None] * np.square((image - pixels) / [500, 480])).sum()

    steps = 1e-4 * np.eye(6)
    slopes = [(total(step) - total(-step)) / 2e-4 for step in steps]
    assert np.abs(slopes).max() < 1e-5
    assert total(100 * steps[0]) > 2 * total(np.zeros(6))


@pytest.mark.weekly
def test_a_robot_finds_its_place_with_a_third_of_its_matches_wrong():
    points, pixels = view(60)
    pixels[:20] = np.random.default_rng(1).uniform(0, 480, (20, 2))
    found = jax.jit(lambda p, q: ransac_pose(jax.random.key(0), p, q, K))(points, pixels)
    np.testing.assert_allclose(found.model.rotation, R, atol=1e-3)
    np.testing.assert_allclose(found.model.translation, T, atol=1e-2)
    np.testing.assert_array_equal(found.inliers, np.arange(60) >= 20)


def test_bad_input_is_named():
    points, pixels = view(6)
    with pytest.raises(ValueError, match="N at least 6"):
        solve_pose(points[:5], pixels[:5], K)


@pytest.mark.slow
def test_points_of_a_map_are_as_exact_as_those_near_0():
    """A million meters from 0, UTM's coordinates: float32 has steps of 6 cm there, the host's float64 has not."""
    points, pixels = view(12)
    offset = np.array([500_000, 4_600_000, 100.0])
    found = solve_pose(points.astype(float) + offset, pixels.astype(float), K)
    np.testing.assert_allclose(found.rotation, R, atol=1e-5)
    np.testing.assert_allclose(np.asarray(found.rotation, float) @ offset + found.translation, T, atol=1e-4)
    agreed = ransac_pose(jax.random.key(0), points.astype(float) + offset, pixels.astype(float), K, num_hypotheses=3)
    np.testing.assert_allclose(agreed.model.rotation, R, atol=1e-5)
    assert agreed.num_inliers == 12


def test_inliers_are_within_pixels_in_front_of_the_camera():
    """The last three of 20 points: 1.2 and 2 pixels off, and behind the camera on the ray of its pixel."""
    points, pixels = view(20)
    pixels[17:19, 1] += [1.2, 2]
    points[19] = (-(points[19] @ R.T + T) - T) @ R
    run = jax.jit(lambda p, q, mask: ransac_pose(jax.random.key(0), p, q, K, 1.5, 20, mask))
    found = run(points, pixels, np.arange(20) > 0)
    np.testing.assert_array_equal(found.inliers, (np.arange(20) > 0) & (np.arange(20) < 18))
