"""Two views: OpenCV's triangulation, a scene of known motion, and bad input."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dlcore.classical_vision.two_view import (
    essential_poses,
    fit_essential,
    sampson_distance,
    structure_from_motion,
    triangulate,
)

GOLDENS = np.load(Path(__file__).parents[1] / "goldens" / "classical_vision.npz")
K = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]], np.float32)


def scene(count=40, outliers=0):
    """Points 4 to 8 in front; the second camera is turned and has moved by t of length 1. Pixels of both."""
    rng = np.random.default_rng(0)
    points = rng.uniform([-2, -2, 4], [2, 2, 8], (count, 3))
    rotation = Rotation.from_rotvec([0.05, -0.2, 0.1]).as_matrix()
    translation = np.array([0.8, 0.0, 0.6])
    images = []
    for camera in (points, points @ rotation.T + translation):
        images.append(((camera / camera[:, 2:]) @ K.T)[:, :2].astype(np.float32))
    if outliers:
        images[1][:outliers] = rng.uniform(0, 480, (outliers, 2))
    return points, rotation, translation, images


def test_triangulation_is_opencvs_and_numpys():
    cameras = np.stack([GOLDENS["triangulate/in.P1"], GOLDENS["triangulate/in.P2"]])
    pixels = np.stack([GOLDENS["triangulate/in.x1"], GOLDENS["triangulate/in.x2"]])
    with jax.enable_x64(True):
        found = jax.jit(triangulate)(cameras, pixels)
    np.testing.assert_allclose(found, GOLDENS["triangulate/out"], rtol=1e-6)
    for i in range(pixels.shape[1]):
        rows = np.concatenate([pixels[v, i, :, None] * cameras[v, 2] - cameras[v, :2] for v in range(2)])
        vector = np.linalg.svd(rows)[2][-1]
        np.testing.assert_allclose(found[i], vector[:3] / vector[3], rtol=1e-8)


def test_the_essential_matrix_holds_the_motion():
    """E = [t]ₓ R: one of its four motions is the true one."""
    _, rotation, translation, images = scene(8)
    plane = [((image - K[:2, 2]) / 500).astype(np.float64) for image in images]
    with jax.enable_x64(True):
        essential, (rotations, translations), distance = jax.jit(
            lambda p, q: (e := fit_essential(p, q), essential_poses(e), sampson_distance(e, (p, q)))
        )(*map(jnp.asarray, plane))
    np.testing.assert_allclose(np.linalg.svd(np.asarray(essential))[1], [1, 1, 0], atol=1e-6)
    assert np.asarray(distance).max() < 2e-6
    errors = np.abs(np.asarray(rotations) - rotation).max((1, 2)) + np.abs(np.asarray(translations) - translation).max(
        1
    )
    assert errors.min() < 1e-3


@pytest.mark.slow
def test_structure_and_motion_with_a_quarter_of_the_pairs_wrong():
    points, rotation, translation, images = scene(60, 15)
    found = jax.jit(lambda p, q: structure_from_motion(jax.random.key(0), p, q, K))(*images)
    np.testing.assert_allclose(found.rotation, rotation, atol=0.01)
    np.testing.assert_allclose(found.translation, translation, atol=0.02)
    assert np.asarray(found.mask)[15:].mean() > 0.95
    kept = np.asarray(found.mask) & (np.arange(60) >= 15)
    error = np.linalg.norm(np.asarray(found.points) - points, axis=1)[kept]
    assert np.median(error / points[kept, 2]) < 0.01


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="V at least 2"):
        triangulate(np.zeros((1, 3, 4)), np.zeros((1, 5, 2)))
    with pytest.raises(ValueError, match=r"pixels\[0, 0, 0\]=nan: not finite"):
        triangulate(np.zeros((2, 3, 4)), np.full((2, 5, 2), np.nan))
    with pytest.raises(ValueError, match="second: 8 points on one line"):  # the first pass
        fit_essential(np.random.default_rng(0).normal(size=(8, 2)), np.outer(np.arange(8), [1, 2.0]))
    with pytest.raises(ValueError, match=r"intrinsics=.*singular") as error:
        structure_from_motion(jax.random.key(0), np.zeros((9, 2)), np.zeros((9, 2)), np.zeros((3, 3)))
    assert "allowed" in str(error.value)
    key, plane = jax.random.key(0), np.zeros((9, 2))
    with pytest.raises(ValueError, match="first: 7 pairs; allowed: at least 8"):
        structure_from_motion(key, plane[:7], plane[:7], K)
    with pytest.raises(ValueError, match="second: 8 pixels of 9 pairs; allowed: as many as first has"):
        structure_from_motion(key, plane, plane[:8], K)


def test_a_view_that_does_not_show_a_point_does_not_count():
    """Of three views the last is wrong for the first point, which it does not show, and right for the second."""
    points, rotation, translation, _ = scene(2)
    cameras = [np.eye(3, 4), np.column_stack([rotation, translation]), np.column_stack([rotation.T, [1.0, 1, 1]])]
    seen = [points @ camera[:, :3].T + camera[:, 3] for camera in cameras]
    pixels = np.stack([x[:, :2] / x[:, 2:] for x in seen])
    pixels[2, 0] += 0.5
    mask = np.array([[True, True], [True, True], [False, True]])
    with jax.enable_x64(True):
        found = jax.jit(triangulate)(np.stack(cameras), pixels, mask)
    np.testing.assert_allclose(found, points, rtol=1e-8)


def test_a_pair_of_weight_two_counts_twice():
    _, _, _, images = scene(9)
    one, two = (
        (image - K[:2, 2]) / 500 + 0.02 * np.random.default_rng(i).normal(size=(9, 2)) for i, image in enumerate(images)
    )
    twice = np.array([0, 0, 1, 2, 3, 3, 3, 4, 5, 6, 7, 8])
    weights = np.bincount(twice).astype(float)
    with jax.enable_x64(True):
        run = jax.jit(lambda p, q: (fit_essential(p, q, weights), fit_essential(p[twice], q[twice])))
        weighted, repeated = map(np.asarray, run(one, two))
    np.testing.assert_allclose(weighted * np.sign(weighted[0, 1] * repeated[0, 1]), repeated, atol=1e-7)


def test_the_four_motions_are_rotations_of_a_matrix_of_any_sign():
    """[t]x R is the matrix or its negative for each, and all four pairs differ."""
    rotation, (x, y, z) = Rotation.from_rotvec([0.3, -0.5, 0.2]).as_matrix(), (0.6, 0.0, 0.8)
    essential = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ rotation
    mirrored = essential @ np.diag([1, 1, -1.0])
    with jax.enable_x64(True):
        motions = jax.jit(jax.vmap(essential_poses))(np.stack([essential, -essential, mirrored]))
    for matrix, rotations, translations in zip(
        (essential, essential, mirrored), *map(np.asarray, motions), strict=True
    ):
        np.testing.assert_allclose(np.linalg.det(rotations), 1, atol=1e-9)
        crosses = np.stack([np.cross(t, r, axisb=0, axisc=0) for r, t in zip(rotations, translations, strict=True)])
        signs = np.sign((crosses * matrix).sum((1, 2)))
        np.testing.assert_allclose(crosses * signs[:, None, None], np.stack([matrix] * 4), atol=1e-9)
        motions = np.concatenate([rotations.reshape(4, 9), translations], 1)
        assert len(np.unique(motions.round(6), axis=0)) == 4


def test_a_pair_is_as_far_as_its_equation_over_both_slopes():
    """q^T M p over the root of the squared first two of M p and M^T q; a shift along x compares the rows, / sqrt 2."""
    matrix, (p, q) = np.array([[1.0, 2, 3], [4, 5, 6], [7, 8, 10]]), ([[0.5, -1.0], [2, 3]], [[1.5, 0.25], [-2, 1]])
    expected = []
    for a, b in zip(p, q, strict=True):
        line, back = matrix @ [*a, 1], [*b, 1] @ matrix
        expected.append(abs(np.dot([*b, 1], line)) / np.sqrt(line[0] ** 2 + line[1] ** 2 + back[0] ** 2 + back[1] ** 2))
    distance = jax.jit(sampson_distance)
    np.testing.assert_allclose(distance(matrix, (np.array(p), np.array(q))), expected, rtol=1e-5)
    shift = np.array([[0, 0, 0], [0, 0, -1.0], [0, 1, 0]])
    found = distance(shift, (np.array([[0.0, 3], [5, 1]]), np.array([[7.0, 1], [6, 1]])))
    np.testing.assert_allclose(found, [2 / np.sqrt(2), 0], atol=1e-6)


@pytest.fixture(scope="module")
def reconstruct():
    return jax.jit(lambda p, q, mask: structure_from_motion(jax.random.key(0), p, q, K, 1.5, 60, mask))


def test_the_motion_is_the_one_with_most_points_in_front_of_both_cameras(reconstruct):
    """The mask leaves out the last pair, an outlier; a point behind the cameras and one at infinity do not count."""
    points, rotation, translation, _ = scene(20)
    points[5], points[6] = -points[5], 1e7 * points[6]
    images = []
    for camera in (points, points @ rotation.T + translation):
        images.append(((camera / camera[:, 2:]) @ K.T)[:, :2].astype(np.float32))
    images[1][19] += 90
    found = reconstruct(*images, np.arange(20) < 19)
    np.testing.assert_allclose(found.rotation, rotation, atol=1e-4)
    np.testing.assert_allclose(found.translation, translation, atol=1e-3)
    np.testing.assert_array_equal(found.mask, ~np.isin(np.arange(20), (5, 6, 19)))
    kept = np.asarray(found.mask)
    np.testing.assert_allclose(found.points[kept], points[kept], rtol=1e-2)


@pytest.mark.parametrize("noise", [0, 0.3, 0.5])
def test_a_camera_that_only_turns_or_stands_still_has_no_structure(reconstruct, noise):
    """As COLMAP, which refuses such pairs. The turn is right all the same; a tenth of the pairs is wrong."""
    rng = np.random.default_rng(0)
    points, rotation, _, _ = scene(60)
    for turn in (np.eye(3), rotation):
        images = [((x / x[:, 2:]) @ K.T)[:, :2] + noise * rng.normal(size=(60, 2)) for x in (points, points @ turn.T)]
        images[1][:6] = rng.uniform(0, 480, (6, 2))
        found = reconstruct(*(image.astype(np.float32) for image in images), np.ones(60, bool))
        assert not found.mask.any()
        np.testing.assert_array_equal(found.translation, 0)
        np.testing.assert_allclose(found.rotation, turn, atol=2e-3)


def test_points_of_a_map_are_located_where_they_are():
    """Two views, a meter apart, of points in meters of UTM, where float32 has steps of half a meter."""
    points = np.array([[396_388.56, 5_782_566.3, 5.0], [396_387.76, 5_782_566.2, 4.0]])
    centers = np.array([[396_388.06, 5_782_566.1, 0], [396_389.06, 5_782_566.1, 0]])
    cameras = np.stack([np.concatenate([np.eye(3), -center[:, None]], 1) for center in centers])
    seen = points - centers[:, None]
    np.testing.assert_allclose(triangulate(cameras, seen[..., :2] / seen[..., 2:]), points, atol=1e-3)
