"""Homographies: OpenCV's and scikit-image's numbers, half of the pairs wrong, warps and their gradients."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from dlcore.classical_vision.alignment import fit_similarity
from dlcore.classical_vision.calibration import fit_camera_matrix
from dlcore.classical_vision.homography import (
    apply_homography,
    fit_homography,
    homography_from_four_points,
    normalize_points,
    ransac_homography,
    rescale_homography,
    warp_perspective,
)
from dlcore.classical_vision.pose import solve_pose
from dlcore.classical_vision.ransac import fit_line
from dlcore.classical_vision.two_view import fit_essential

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
@pytest.mark.slow
@pytest.mark.parametrize("convert", [np.asarray, jnp.asarray])
def test_the_last_entry_of_a_homography_may_be_zero(convert):
    """(u, v) to (1 / u, v / u): the matrix with ones from corner to corner, of norm √3."""
    source = np.array([[1.0, 1], [2, 1], [2, 2], [1, 2], [1.5, 1.2], [3, 0.5]])
    target = np.stack([1 / source[:, 0], source[:, 1] / source[:, 0]], 1)
    p, q = convert(source), convert(target)
    found = [fit_homography(p, q), homography_from_four_points(p[:4], q[:4])]
    found.append(ransac_homography(jax.random.key(0), p, q, 0.01, 20).model)
    for homography in found:
        np.testing.assert_allclose(apply_homography(homography, p), target, atol=1e-5)
        unit = np.asarray(homography) / np.linalg.norm(homography)
        np.testing.assert_allclose(unit * np.sign(unit[0, 2]), np.eye(3)[::-1] / 3**0.5, atol=1e-5)
    np.testing.assert_allclose(rescale_homography(-2 * np.eye(3)), np.eye(3))
    np.testing.assert_allclose(rescale_homography(5 * np.eye(3)[::-1]), np.eye(3)[::-1] / 3**0.5)


@pytest.mark.covers("CL-10")
@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["int64", "uint16"])
def test_whole_numbers_are_points(dtype):
    """x' = x + .1 y + 20, y' = .05 x + y + 10, of the corners of an image of 640 x 480."""
    source = np.array([[0, 0], [640, 0], [640, 480], [0, 480]], dtype)
    target = np.array([[20, 10], [660, 42], [708, 522], [68, 490]], dtype)
    want = [[1, 0.1, 20], [0.05, 1, 10], [0, 0, 1]]
    for p, q in ((source, target), (jnp.asarray(source), jnp.asarray(target))):
        found = homography_from_four_points(p, q), fit_homography(p, q), fit_homography(p, q, np.ones(4, int))
        if p is source:
            found += (ransac_homography(jax.random.key(0), p, q, num_hypotheses=4).model,)
        for homography in found:
            np.testing.assert_allclose(homography, want, atol=1e-3)
        np.testing.assert_allclose(
            apply_homography(np.array([[1, 0, 5], [0, 1, 0], [0, 0, 1]]), p), source + np.array([5.0, 0]), rtol=1e-6
        )
        np.testing.assert_allclose(np.square(normalize_points(p)[0]).sum(1), 2, rtol=1e-5)


@pytest.mark.covers("CL-10")
@pytest.mark.slow
def test_a_map_in_meters_keeps_its_digits():
    """Corners of an aerial image in UTM, of 23,000 pixels: back and forth, in float64 of the host."""
    meters = np.array([[396388.56, 5782566.0], [399000.1, 5782560], [399010, 5779500.3], [396380, 5779490]])
    pixels = np.array([[0.0, 0], [22992, 0], [22992, 25095], [0, 25095]])
    inner = np.array([[397000.25, 5781000.5]])
    for p, q in ((meters, pixels), (pixels, meters)):
        for homography in (fit_homography(p, q), homography_from_four_points(p, q)):
            np.testing.assert_allclose(apply_homography(homography, p), q, atol=1e-6)
        found = ransac_homography(jax.random.key(0), p, q, 2.0, 4, np.array([1, 1, 1, 1]) > 0)
        np.testing.assert_allclose(apply_homography(found.model, p), q, atol=0.02)
    there = apply_homography(fit_homography(meters, pixels), inner)
    np.testing.assert_allclose(apply_homography(fit_homography(pixels, meters), there), inner, atol=1e-6)


@pytest.mark.covers("CL-10")
def test_rounding_takes_no_border_from_a_warp():
    """Identity, shift and quarter turn of an image of ones, as fitted, in float32: each pixel is covered."""
    corners = jnp.array([[0.0, 0], [639, 0], [639, 479], [0, 479]])
    warp = jax.jit(warp_perspective, static_argnums=2)
    image, turn = np.ones((480, 640, 1), np.float32), jnp.array([[0, -1, 479], [1, 0, 0], [0, 0, 1.0]])
    turned = jnp.stack([479 - corners[:, 1], corners[:, 0]], 1)
    for fit in (homography_from_four_points, fit_homography):
        same, shifted = fit(corners, corners), fit(corners, corners + jnp.array([10.0, 20]))
        for homography, covered in ((same, 480 * 640), (shifted, 460 * 630)):
            warped, mask = warp(image, homography, (480, 640))
            assert (int(mask.sum()), float(warped.sum())) == (covered, covered)
        for homography in (turn, fit(corners, turned)):
            assert warp(image, homography, (640, 480))[1].all()
    warped, mask = warp_perspective(np.full((2, 300, 1), 200, np.uint8), np.eye(3), (2, 300))
    assert mask.all()
    np.testing.assert_array_equal(warped, 200)


@pytest.mark.covers("CL-10")
def test_inliers_are_those_within_pixels_of_the_target_and_of_the_mask():
    rng = np.random.default_rng(0)
    source = rng.uniform(0, 100, (14, 2)).astype(np.float32)
    target = source + np.float32([3, 0])
    target[:4] += np.float32([[3, 4], [0, 0.5], [0, 0], [30, 0]])  # 5, .5, 0 and 30 pixels off
    mask = np.arange(14) != 2
    found = jax.jit(lambda p, q: ransac_homography(jax.random.key(0), p, q, 1.5, 60, mask))(source, target)
    np.testing.assert_array_equal(found.inliers, ~np.isin(np.arange(14), (0, 2, 3)))


@pytest.mark.slow
def test_points_that_the_mask_leaves_out_may_be_anything():
    rng = np.random.default_rng(0)
    source = rng.uniform(0, 100, (9, 2))
    target = 2 * source
    source[8] = np.nan
    found = ransac_homography(jax.random.key(0), source, target, mask=np.arange(9) < 8)
    np.testing.assert_array_equal(found.inliers, np.arange(9) < 8)
    np.testing.assert_allclose(apply_homography(found.model, source[:8]), target[:8], atol=1e-3)
    assert not ransac_homography(jax.random.key(0), source, target, mask=np.zeros(9, bool)).inliers.any()


POINTS = np.random.default_rng(0).random((9, 3))


@pytest.mark.parametrize(
    ("fit", "least"),
    [
        (lambda w: fit_homography(POINTS[:, :2], POINTS[:, 1:], w), 4),
        (lambda w: fit_essential(POINTS[:, :2], POINTS[:, 1:], w), 8),
        (lambda w: fit_camera_matrix(POINTS, POINTS[:, 1:], w), 6),
        (lambda w: solve_pose(POINTS, POINTS[:, 1:], np.eye(3), w), 6),
        (lambda w: fit_similarity(POINTS, POINTS, w), 3),
        (lambda w: fit_line(POINTS[:, :2], w), 2),
    ],
)
def test_too_few_weights_above_0_are_named(fit, least):
    with pytest.raises(
        ValueError, match=f"weights: above 0 for {least - 1} of 9 points; allowed: for at least {least}"
    ):
        fit((np.arange(9) < least - 1).astype(float))


def test_bad_input_is_named():
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]])
    line = np.array([[0, 0], [1, 1], [2, 2], [0, 1.0]])
    with pytest.raises(ValueError, match=r"source=\[\[0.0, 0.0\].*three on a line; allowed: four points"):
        homography_from_four_points(line, square)
    # Any three of four: those but the last, the third, the second and the first.
