"""Structure from motion: cameras of known pose, the least-squares optimum, export, and bad input."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from dlcore.data.mesh_files import read_mesh, write_mesh
from dlcore.vision3d import structure_from_motion
from dlcore.vision3d.structure_from_motion import Bundle, bundle_adjustment, reconstruct, reprojection_errors
from experiments.vision3d import structure_from_motion as page

K = np.array([[500.0, 0, 320], [0, 480, 240], [0, 0, 1]])


def scene(views, count, noise=0.0):
    """(points [N, 3] 4 to 7 in front of the first of `views` cameras, rotations, translations, pixels [V, N, 2])."""
    rng = np.random.default_rng(0)
    points = rng.uniform([-1.5, -1.5, 4], [1.5, 1.5, 7], (count, 3))
    part = np.arange(views) / (views - 1)
    rotations = Rotation.from_rotvec(part[:, None] * [0.05, 0.2, 0.02]).as_matrix()
    centers = part[:, None] * np.array([-0.96, 0.0, 0.28])
    translations = -np.einsum("vij,vj->vi", rotations, centers)
    camera = np.einsum("vij,nj->vni", rotations, points) + translations[:, None]
    pixels = camera[..., :2] / camera[..., 2:] * np.diag(K)[:2] + K[:2, 2]
    return points, rotations, translations, pixels + noise * rng.normal(size=pixels.shape)


@pytest.mark.covers("TD-16")
def test_the_adjusted_bundle_is_scipys_optimum():
    """Two views of 9 noisy points, from a start that is off: the error equals that of scipy's least_squares; without
    noise the points are exact. The first camera, which stays, is not at the origin."""
    points, rotations, translations, exact = scene(2, 9)
    shift = np.array([0.3, -0.2, 0.5])
    points, translations = points + shift, translations - rotations @ shift
    rng = np.random.default_rng(1)
    noisy = exact + 0.5 * rng.normal(size=exact.shape)
    mask = np.ones((2, 9), bool)
    mask[1, 8] = False
    turned = rotations.copy()
    turned[1] = Rotation.from_rotvec([0.02, -0.01, 0.01]).as_matrix() @ rotations[1]
    moved = translations.copy()
    moved[1] = turned[1] @ rotations[1].T @ translations[1]  # the cameras stay where they are, one unit apart
    start = Bundle(turned, moved, points + 0.1 * rng.normal(size=points.shape), mask)
    with jax.enable_x64(True):
        run = jax.jit(lambda pixels: (b := bundle_adjustment(start, pixels, K, 25), reprojection_errors(b, pixels, K)))
        (_, errors), (without_noise, rest) = run(noisy), run(exact)

    def residuals(x):
        rotation, t, p = Rotation.from_rotvec(x[:3]).as_matrix(), x[3:6], x[6:].reshape(9, 3)
        camera = np.stack([p + translations[0], p @ rotation.T + t])
        return ((camera[..., :2] / camera[..., 2:] * np.diag(K)[:2] + K[:2, 2] - noisy)[mask]).ravel()

    first = np.concatenate([Rotation.from_matrix(rotations[1]).as_rotvec(), translations[1], points.ravel()])
    optimum = least_squares(residuals, first).fun
    assert np.square(errors).sum() == pytest.approx(np.square(optimum).sum(), rel=1e-4)
    np.testing.assert_array_equal(np.asarray(errors)[1, 8], 0)
    assert np.abs(rest).max() < 1e-6
    np.testing.assert_allclose(without_noise.points[:8], points[:8], atol=1e-6)
    np.testing.assert_allclose(without_noise.rotations, rotations, atol=1e-7)
    np.testing.assert_allclose(without_noise.translations, translations, atol=1e-6)
    centers = -np.einsum("vji,vj->vi", np.asarray(without_noise.rotations), np.asarray(without_noise.translations))
    np.testing.assert_allclose(np.linalg.norm(centers[1] - centers[0]), 1, atol=1e-9)


@pytest.mark.weekly
@pytest.mark.covers("TD-16")
def test_four_views_with_noise_and_wrong_pixels():
    """.5 pixels of noise, every tenth point wrong in one image. The result is the optimum that a start at the truth
    reaches, and the remaining RMS is .5 √(1 - p / n): p = 6 * 3 - 1 + 3 * 60, n twice the number of pixels."""
    points, rotations, translations, pixels = scene(4, 60, 0.5)
    pixels[2, ::10] = np.random.default_rng(2).uniform(0, 480, (6, 2))
    truth = Bundle(*(x.astype(np.float32) for x in (rotations, translations, points)), np.ones((4, 60), bool))

    @jax.jit
    def run(pixels):
        found = reconstruct(jax.random.key(0), pixels, K)
        best = bundle_adjustment(truth._replace(mask=found.mask), pixels, K)
        return found, best, reprojection_errors(found, pixels, K)

    found, best, errors = run(pixels.astype(np.float32))
    mask = np.asarray(found.mask)
    assert not mask[2, ::10].any()
    assert mask.sum() >= 4 * 60 - 6 - 6
    rms = np.sqrt(np.square(errors)[mask].mean())
    assert rms == pytest.approx(0.5 * np.sqrt(1 - (6 * 3 - 1 + 3 * 60) / (2 * mask.sum())), rel=0.1)
    np.testing.assert_allclose(found.rotations, best.rotations, atol=2e-3)
    np.testing.assert_allclose(found.translations, best.translations, atol=1e-2)
    np.testing.assert_allclose(found.rotations, rotations, atol=0.02)


@pytest.mark.covers("TD-16")
def test_a_point_cloud_and_a_mesh_are_files(tmp_path):
    points = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    for faces in (np.zeros((0, 3), np.int32), np.array([[0, 1, 2], [1, 3, 4]], np.int32)):
        vertices, read = read_mesh(write_mesh(tmp_path / "cloud.ply", points, faces))
        np.testing.assert_array_equal(vertices, points)
        np.testing.assert_array_equal(read, faces)


def test_a_point_counts_where_two_views_show_it_in_front_of_them():
    """Seven points in three views, triangulated from the first and the last one; an error of 3 pixels is allowed.

    Pixels of the middle view are wrong by 10 for points 1 and 6 and by 2 for point 3. One view alone is used for point
    2; the last one shows neither 4 nor 6, so that 6 has the first view alone; 5 lies behind the cameras.
    """
    points, rotations, translations, _ = scene(3, 7)
    points[5] *= -1
    camera = np.einsum("vij,nj->vni", rotations, points) + translations[:, None]
    pixels = camera[..., :2] / camera[..., 2:] * np.diag(K)[:2] + K[:2, 2]
    pixels[1, [1, 3, 6], 0] += 10, 2, 10
    mask, used = np.ones((3, 7), bool), np.array([[True] * 7, [False] * 7, [True] * 7])
    mask[2, [4, 6]] = used[2, 2] = False
    with jax.enable_x64(True):
        start = Bundle(rotations, translations, 0 * points, mask)
        found = jax.jit(structure_from_motion._triangulated)(start, used, pixels, K, 3.0)
    expected = [[1, 1, 0, 1, 1, 0, 0], [1, 0, 0, 1, 1, 0, 0], [1, 1, 0, 1, 0, 0, 0]]
    np.testing.assert_array_equal(found.mask, np.array(expected, bool))
    np.testing.assert_allclose(found.points, np.where(np.array(expected[0])[:, None], points, 0), atol=1e-8)


def test_views_between_are_located_and_outliers_leave_in_two_rounds(monkeypatch):
    """The first and the last image begin; the second shows no point 2, the last no point 1, and 3 is an outlier.

    Points are triangulated from the first and the last image where both show them, else from all that do.
    """
    calls, rounds, pixels = [], [], 1 + np.arange(64, dtype=np.float32).reshape(4, 8, 2)
    mask = np.ones((4, 8), bool)
    mask[1, 2] = mask[3, 1] = False

    def begin(key, first, last, intrinsics, threshold, num_hypotheses, both):
        calls.append((first, last, threshold, num_hypotheses, both))
        inliers = both & (jnp.arange(8) != 3)
        return SimpleNamespace(mask=inliers, points=jnp.ones((8, 3)), rotation=2 * jnp.eye(3), translation=jnp.ones(3))

    def locate(key, points, image, intrinsics, threshold, num_hypotheses, visible):
        calls.append((threshold, num_hypotheses))
        pose = {"rotation": image[0, 0] * jnp.eye(3), "translation": visible[1:4].astype(jnp.float32)}
        return SimpleNamespace(model=SimpleNamespace(**pose))

    def triangulated(bundle, used, pixels, intrinsics, limit):
        rounds.append((bundle, used, limit))
        return bundle._replace(mask=bundle.mask & False)

    def adjust(bundle, pixels, intrinsics, steps):
        rounds.append(steps)
        return bundle

    for name, stub in (("structure_from_motion", begin), ("ransac_pose", locate), ("_triangulated", triangulated)):
        monkeypatch.setattr(structure_from_motion, name, stub)
    monkeypatch.setattr(structure_from_motion, "bundle_adjustment", adjust)
    reconstruct(jax.random.key(0), pixels, K, mask, 1.5, 40, 6)
    (first, last, *settings, both), located = calls
    np.testing.assert_array_equal(first, pixels[0])
    np.testing.assert_array_equal(last, pixels[3])
    np.testing.assert_array_equal(both, np.arange(8) != 1)
    assert (settings, located) == ([1.5, 40], (1.5, 40))
    (bundle, used, lenient), steps, (again, _, strict), more = rounds
    assert (lenient, steps, strict, more) == (7.5, 6, 3, 6)
    np.testing.assert_array_equal(again.mask, mask)
    np.testing.assert_array_equal(bundle.rotations[:, 0, 0], [1, pixels[1, 0, 0], pixels[2, 0, 0], 2])
    np.testing.assert_array_equal(bundle.translations, [[0, 0, 0], [0, 0, 0], [0, 1, 0], [1, 1, 1]])
    np.testing.assert_array_equal(bundle.points[:, 0], [1, 0, 1, 0, 1, 1, 1, 1])
    ends = np.array([[True] * 8, [False] * 8, [False] * 8, [True] * 8])
    ends[:, 1] = True, True, True, False
    np.testing.assert_array_equal(used, ends)
    # Of three views the one between is located too.
    reconstruct(jax.random.key(0), pixels[[0, 1, 3]], K, mask[[0, 1, 3]], 1.5, 40, 6)
    np.testing.assert_array_equal(rounds[4][0].rotations[:, 0, 0], [1, pixels[1, 0, 0], 2])


@pytest.mark.slow
def test_a_camera_that_does_not_move_gives_no_bundle():
    """Twice the same image, in whole pixels: an error, and under jit a mask of False and points that are 0."""
    pixels = np.round(scene(2, 12)[3][[0, 0]]).astype(np.int32)
    with pytest.raises(ValueError, match="pixels: the camera does not move from the first to the last image"):
        reconstruct(jax.random.key(0), pixels, K, num_hypotheses=20, steps=1)
    found = jax.jit(lambda p: reconstruct(jax.random.key(0), p, K, num_hypotheses=20, steps=1))(pixels)
    assert not found.mask.any()
    np.testing.assert_array_equal(found.points, 0)
    np.testing.assert_array_equal(found.translations, 0)


def test_bad_input_is_named():
    pixels = scene(2, 9)[3]
    with pytest.raises(ValueError, match="V at least 2"):
        reconstruct(jax.random.key(0), pixels[:1], K)
    pixels[0, 3, 1] = np.nan


@pytest.mark.covers("TD-16")
def test_the_verdict_turns():
    # .423 = .5 √(1 - p / n) allows .381 to .465
    assert page.judge(0.40, 0.423, 0.005)[1]
    for wrong in ((0.37, 0.423, 0.005), (0.48, 0.423, 0.005), (0.40, 0.423, 0.02)):
        verdict, holds = page.judge(*wrong)
        assert not holds
        assert "NOT as claimed" in verdict


@pytest.mark.slow
def test_smoke(tmp_path):
    result = page.study(**page.experiment.smoke, output=str(tmp_path))
    assert set(result.figures) == {"reconstruction"}
    points, none = read_mesh(tmp_path / "points.ply")
    assert len(points) == result.numbers["points"]
    assert len(none) == 0
    assert len(read_mesh(tmp_path / "mesh.ply")[1]) > 0
    with pytest.raises(ValueError, match="views=1: too few; allowed: at least 2"):
        page.study(views=1)
