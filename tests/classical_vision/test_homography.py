"""Homographies: OpenCV's and scikit-image's numbers, half of the pairs wrong, warps and their gradients."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from dlcore.classical_vision import homography as homography_module
from dlcore.classical_vision.homography import (
    apply_homography,
    fit_homography,
    homography_from_four_points,
    normalize_points,
    ransac_homography,
    warp_perspective,
)

GOLDENS = np.load(Path(__file__).parents[1] / "goldens" / "classical_vision.npz")
H = np.array([[0.9, 0.2, 12.0], [-0.15, 1.1, 5], [2e-4, -1e-4, 1]])


@pytest.mark.covers("CL-10")
def test_four_points_are_opencvs():
    source, target, expected = (GOLDENS[f"homography.4pt/{n}"] for n in ("in.src", "in.dst", "out"))
    found = jax.jit(homography_from_four_points)(source, target)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(apply_homography(np.asarray(found), source), target, atol=1e-3)


@pytest.mark.covers("CL-10")
def test_eight_points_are_scikit_images():
    source, target, expected = (GOLDENS[f"homography.dlt8/{n}"] for n in ("in.src", "in.dst", "out"))
    with jax.enable_x64(True):
        found = jax.jit(fit_homography)(source, target)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.covers("CL-10")
def test_half_of_the_pairs_wrong_for_a_hundred_seeds():
    """300 samples of four: 1 - (1 - .5^4)^300 = 1 - 4e-9. Inliers by F1, all seeds in one program."""
    rng = np.random.default_rng(0)
    source = rng.uniform(0, 200, (100, 40, 2))
    mapped = np.concatenate([source, np.ones((100, 40, 1))], -1) @ H.T
    target = mapped[..., :2] / mapped[..., 2:] + 0.2 * rng.normal(size=source.shape)
    target[:, 20:] = rng.uniform(0, 200, (100, 20, 2))
    keys = jax.random.split(jax.random.key(0), 100)
    run = jax.jit(jax.vmap(lambda key, p, q: ransac_homography(key, p, q, 2.0, 300)))
    found = run(keys, source.astype(np.float32), target.astype(np.float32))
    inliers, truth = np.asarray(found.inliers), np.arange(40) < 20
    hits = (inliers & truth).sum(1)
    f1 = 2 * hits / (inliers.sum(1) + 20)
    assert f1.mean() >= 0.98
    assert f1.min() >= 0.9
    corners = np.array([[0, 0, 1], [200, 0, 1], [0, 200, 1], [200, 200, 1.0]])
    wanted, got = corners @ H.T, corners @ np.asarray(found.model).transpose(0, 2, 1)
    distance = np.abs(got[..., :2] / got[..., 2:] - wanted[:, :2] / wanted[:, 2:]).max((1, 2))
    assert (distance < 3).all()


@pytest.mark.covers("CL-10")
def test_points_are_moved_to_mean_zero_and_distance_root_two():
    """The corners of a square of side 4 are 2 sqrt(2) from its middle (2, 2): half of that, and (x - 2) / 2."""
    corners = np.array([[0.0, 0], [4, 0], [0, 4], [4, 4]])
    points, matrix = normalize_points(jnp.asarray(corners))
    np.testing.assert_allclose(points, [[-1, -1], [1, -1], [-1, 1], [1, 1]], atol=1e-6)
    np.testing.assert_allclose(matrix, [[0.5, 0, -1], [0, 0.5, -1], [0, 0, 1]], atol=1e-6)
    # One point alone has no distance: it is moved, and the scale stays sqrt(2).
    points, matrix = normalize_points(jnp.asarray(corners), jnp.array([0.0, 0, 0, 1]))
    np.testing.assert_allclose(points[3], [0, 0], atol=1e-6)
    np.testing.assert_allclose(matrix[0, 0], np.sqrt(2), rtol=1e-6)


@pytest.mark.covers("CL-10")
def test_a_warp_by_a_shift_has_gradients():
    """A shift by (1, 0) moves columns right: the first is not covered."""
    image = np.arange(12.0, dtype=np.float32).reshape(3, 4, 1)

    def run(shift):
        homography = jnp.eye(3).at[0, 2].set(shift)
        warped, mask = warp_perspective(image, homography, (3, 4))
        return warped[..., 0], mask

    (warped, mask), slope = jax.jit(lambda: (run(1.0), jax.jacfwd(lambda s: run(s)[0][1, 2])(0.5)))()
    np.testing.assert_array_equal(warped[:, 1:], image[:, :3, 0])
    np.testing.assert_array_equal(mask, [[False, True, True, True]] * 3)
    # d value / d shift = -slope = -1 a covered pixel
    assert slope == pytest.approx(-1)


@pytest.mark.covers("CL-10")
def test_a_pair_of_weight_two_counts_twice():
    rng = np.random.default_rng(0)
    source = rng.uniform(0, 9, (6, 2))
    target = source * [1.5, 0.8] + rng.normal(size=(6, 2))
    twice = [0, 0, 1, 2, 3, 3, 3, 4, 5]
    with jax.enable_x64(True):
        run = jax.jit(lambda p, q, w: (fit_homography(p, q, w), fit_homography(p[np.array(twice)], q[np.array(twice)])))
        weighted, repeated = run(source, target, np.array([2.0, 1, 1, 3, 1, 1]))
    np.testing.assert_allclose(weighted, repeated, rtol=1e-7)


@pytest.mark.covers("CL-10")
def test_a_warp_is_bilinear_in_the_image_where_the_inverse_looks():
    """Each of 5 x 4 pixels is at H^-1 (column, row, 1) of an image of 4 x 6, as SciPy reads it."""
    image = np.random.default_rng(0).uniform(size=(4, 6, 2)).astype(np.float32)
    homography = np.array([[0.7, 0.1, -0.3], [-0.05, 0.9, 0.8], [0.02, 0.01, 1]])
    warped, mask = jax.jit(lambda x: warp_perspective(x, homography, (5, 4)))(image)
    rows, columns = np.mgrid[:5, :4]
    x, y, w = np.einsum("ij,jrc->irc", np.linalg.inv(homography), np.stack([columns, rows, np.ones((5, 4))]))
    inside = (x >= 0) & (y >= 0) & (x <= w * 5) & (y <= w * 3)
    assert 8 < inside.sum() < 20
    np.testing.assert_array_equal(mask, inside)
    for channel in range(2):
        wanted = ndimage.map_coordinates(image[..., channel], [y / w, x / w], order=1, mode="nearest")
        np.testing.assert_allclose(warped[..., channel], np.where(inside, wanted, 0), atol=1e-5)


@pytest.mark.covers("CL-10")
def test_samples_of_four_agree_within_pixels_of_the_target(monkeypatch):
    given = {}

    def ransac(key, data, fit, residual, **settings):
        given.update(settings, key=key, data=data)
        shift = np.array([[1, 0, 3.0], [0, 1, 0], [0, 0, 1]])  # (1, 1) to (4, 1), 4 from (4, 5); (2, 0) to its target
        return residual(shift, (np.array([[1.0, 1], [2, 0]]), np.array([[4.0, 5], [5, 0]])))

    monkeypatch.setattr(homography_module, "ransac", ransac)
    monkeypatch.setattr(homography_module, "fit_homography", lambda *arguments: arguments)
    source, target, mask = np.zeros((5, 2)), np.ones((5, 2)), np.ones(5, bool)
    distance = jax.jit(lambda: ransac_homography("key", source, target, 1.5, 7, mask))()
    np.testing.assert_allclose(distance, [4, 0], atol=1e-6)
    assert (given["key"], given["sample_size"], given["threshold"], given["num_hypotheses"]) == ("key", 4, 1.5, 7)
    assert given["mask"] is mask
    assert given["data"] == (source, target)
    assert given["refit"](("source", "target"), "weights") == ("source", "target", "weights")


def test_bad_input_is_named():
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]])
    line = np.array([[0, 0], [1, 1], [2, 2], [0, 1.0]])
    with pytest.raises(ValueError, match=r"source=\[\[0.0, 0.0\].*three on a line; allowed: four points"):
        homography_from_four_points(line, square)
    # Any three of four: those but the last, the third, the second and the first.
    for last in (3, 2, 1, 0):
        with pytest.raises(ValueError, match=r"target=.*: three on a line"):
            homography_from_four_points(square, np.insert(line[:3], last, line[3], 0))
    with pytest.raises(ValueError, match="singular; allowed: a matrix with an inverse"):
        warp_perspective(jnp.zeros((2, 3, 1)), np.diag([1.0, 1, 0]), (2, 2))
    for shapes in (((2, 3), (3, 3)), ((2, 3, 1), (2, 3))):
        with pytest.raises(ValueError, match=r"do not fit; allowed: \[H, W, C\] and \[3, 3\]"):
            warp_perspective(*map(np.ones, shapes), (2, 2))
    for shapes in (((5, 2), (6, 2)), ((5, 3), (5, 3)), ((5,), (5,))):
        with pytest.raises(ValueError, match=r"do not fit; allowed: both \[N, 2\]"):
            ransac_homography(jax.random.key(0), *map(np.ones, shapes))
        with pytest.raises(ValueError, match=r"do not fit; allowed: both \[N, 2\]"):
            fit_homography(*map(np.ones, shapes))
    with pytest.raises(ValueError, match=r"target\[0, 1\]=nan: not finite"):
        homography_from_four_points(square, square * [1, np.nan])
    for source, target in ((square[:3], square), (square, square[:3])):
        with pytest.raises(ValueError, match=r"not four points; allowed: \[4, 2\]"):
            homography_from_four_points(source, target)
    with pytest.raises(ValueError, match="N at least 4"):
        fit_homography(square[:3], square[:3])
    with pytest.raises(ValueError, match="source: 5 points on one line"):
        fit_homography(np.outer(np.arange(5), [1, 2.0]), np.random.default_rng(0).normal(size=(5, 2)))
    with pytest.raises(ValueError, match="target: 4 points on one line"):  # the source, a square, passes
        fit_homography(square, np.outer(np.arange(4), [1, 2.0]))
    with pytest.raises(ValueError, match="data: 3 rows; allowed: at least 4"):
        ransac_homography(jax.random.key(0), square[:3], square[:3])
