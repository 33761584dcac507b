"""Stereo: similar triangles by hand, a slanted plane, and random dots with three depths."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.classical_vision.stereo import block_matching, depth_to_disparity, disparity_to_depth, disparity_to_points


def row_texture(x, rows, seed=0):
    """[rows, len(x)]: waves along each row at columns x [rows, W], each row with its own."""
    rng = np.random.default_rng(seed)
    image = np.zeros(x.shape)
    for _ in range(12):
        k, phase = 2 * np.pi / rng.uniform(5, 30), rng.uniform(0, 2 * np.pi, (rows, 1))
        image += np.cos(k * x + phase)
    return (0.5 + image / 12).astype(np.float32)


@pytest.mark.covers("CL-12")
def test_depth_is_positive_by_similar_triangles():
    """A point (1, .5, 4) with f = 100, T = .2: left x = 25 + 50, right (1 - .2) / 4 * 100 + 50 = 70, so d = 5 > 0."""
    left, right = 1 / 4 * 100 + 50, (1 - 0.2) / 4 * 100 + 50
    assert left - right == pytest.approx(5)
    assert float(disparity_to_depth(left - right, 100, 0.2)) == pytest.approx(4)
    assert float(depth_to_disparity(4.0, 100, 0.2)) == pytest.approx(5)
    assert np.isinf(disparity_to_depth(0.0, 100, 0.2, mask=np.array(False)))
    with pytest.raises(ValueError, match="disparity=0: no depth; allowed: above 0, or a mask that leaves it out"):
        disparity_to_depth(0.0, 100, 0.2)
    intrinsics = np.array([[100.0, 0, 50], [0, 80, 40], [0, 0, 1]])
    points = disparity_to_points(jnp.full((60, 80), 5.0), intrinsics, 0.2)
    # column 75: X = 4 (75 - 50) / 100 = 1; row 52: Y = 4 (52 - 40) / 80 = .6
    np.testing.assert_allclose(points[52, 75], [1, 0.6, 4], rtol=1e-5)


@pytest.mark.covers("CL-12")
def test_pixels_without_a_disparity_have_no_depth():
    """Left out by the mask, or 0 where a compiled program cannot raise; .5 and 1 give f T / d = 40 and 20."""
    intrinsics, mask = np.array([[100.0, 0, 0], [0, 100, 0], [0, 0, 1]]), np.array([[True, True, False, True]])
    run = jax.jit(lambda d: disparity_to_points(d, intrinsics, 0.2, mask)[..., 2])
    np.testing.assert_allclose(run(jnp.array([[0.5, 1, 1, 0]])), [[40, 20, np.inf, np.inf]], rtol=1e-6)
    with pytest.raises(ValueError, match=r"disparity\[0, 1\]=-1: no depth"):
        disparity_to_depth(np.array([[0.5, -1, 0]]), 100, 0.2, np.array([[True, True, False]]))
    with pytest.raises(ValueError, match=r"mask.shape=\(1, 4\): does not fit disparity; allowed: \(4,\)"):
        disparity_to_depth(np.ones(4), 100, 0.2, mask)
    for focal, baseline in ((0, 1), (1, 0), (np.inf, 1), (1, -1)):
        with pytest.raises(ValueError, match="not positive and finite; allowed: above 0"):
            depth_to_disparity(np.ones(2), focal, baseline)


@pytest.mark.covers("CL-12")
def test_windows_of_one_pixel_choose_between_two_disparities():
    """The right image is the left, moved by 1: all columns but the first, which may lie beyond the edge, have it."""
    left = np.random.default_rng(0).uniform(size=(2, 5)).astype(np.float32)
    found = jax.jit(lambda a: block_matching(a, jnp.roll(a, -1, 1), 1, 1, 0))(left)
    np.testing.assert_array_equal(found.disparity[:, 1:], 1)
    np.testing.assert_array_equal(found.mask, [[False, True, True, True, True]] * 2)
    np.testing.assert_array_equal(found.cost[:, 1:], 0)


@pytest.mark.covers("CL-12")
def test_blocks_are_matched_as_by_loops():
    """Windows of 3 x 3, whose edges repeat the outermost difference, at disparities 0 to 4 of random rows."""
    rng, most = np.random.default_rng(0), 4
    left = rng.uniform(size=(6, 14))
    right = np.where(np.arange(6)[:, None] < 3, np.roll(left, -2, 1), rng.uniform(size=left.shape))
    costs = np.full((most + 1, 6, 14), np.inf)
    for d in range(most + 1):
        difference = np.abs(left - right[:, np.maximum(np.arange(14) - d, 0)])
        padded = np.pad(difference, 1, mode="edge")
        for r, c in np.ndindex(6, 14):
            if c >= d:
                costs[d, r, c] = padded[r : r + 3, c : c + 3].mean()
    disparity, mask = np.zeros((2, 6, 14))
    for r, c in np.ndindex(6, 14):
        best = costs[:, r, c].argmin()
        back = min(range(most + 1), key=lambda d, r=r, x=c - best: costs[d, r, x + d] if x + d < 14 else np.inf)
        disparity[r, c], mask[r, c] = best, abs(back - best) <= 1 and c >= most and best > 0
        if 0 < best < most and np.isfinite(costs[best + 1, r, c]):
            before, here, after = costs[best - 1 : best + 2, r, c]
            disparity[r, c] += (before - after) / 2 / (before - 2 * here + after)
    with jax.enable_x64(True):
        found = jax.jit(lambda a, b: block_matching(a, b, most, 3))(left, right)
    assert 0.2 < mask.mean() < 0.7
    np.testing.assert_array_equal(found.mask, mask > 0)
    np.testing.assert_allclose(found.cost, costs.min(0), rtol=1e-6)
    np.testing.assert_allclose(found.disparity[:, most:], disparity[:, most:], atol=1e-6)


@pytest.mark.covers("CL-12")
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float16, np.uint16])
def test_disparities_are_those_of_the_same_numbers_as_float32(dtype):
    """Random dots of 0 to 255 (65535), moved by 5; differences of unsigned numbers wrap, and costs are above 1000."""
    scene = np.random.default_rng(0).integers(0, 256, (9, 45)) * (257 if dtype == np.uint16 else 1)
    left, right = scene[:, :40], scene[:, 5:]
    match = jax.jit(lambda a, b: block_matching(a, b, 8))
    found, expected = match(left.astype(dtype), right.astype(dtype)), match(np.float32(left), np.float32(right))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    assert np.asarray(found.mask)[:, 12:35].all()
    np.testing.assert_allclose(found.disparity[:, 12:35], 5, atol=0.1)


@pytest.mark.covers("CL-12")
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_windows_without_texture_along_their_rows_have_no_disparity(dtype):
    """A wall of one gray, and one of stripes along the rows, between random dots; all at a disparity of 5.

    Windows of 7 are all wall from 3 columns behind its edge on. What the mask keeps has a depth, f T / d.
    """
    scene = np.random.default_rng(0).integers(0, 256, (16, 65))
    scene[:, 25:50] = np.where(np.arange(16)[:, None] < 8, 128, 40 * (np.arange(16)[:, None] % 3))
    scene = scene.astype(dtype) if dtype == np.uint8 else (scene / 255).astype(dtype)
    match = jax.jit(lambda a, b: block_matching(a, b, 8))
    found = match(scene[:, :60], scene[:, 5:])
    mask = np.asarray(found.mask)
    assert not mask[:, 29:46].any()
    assert mask[:, 12:20].all()
    assert mask[:, 54:].all()
    depth = np.asarray(disparity_to_depth(found.disparity, 100, 0.2, found.mask))
    np.testing.assert_allclose(depth[:, 12:20], 100 * 0.2 / 5, rtol=0.02)
    assert np.isinf(depth[~mask]).all()
    flat = np.full((16, 60), scene[0, 30])
    found = match(flat, flat)
    assert not np.asarray(found.mask).any()
    assert np.isinf(disparity_to_depth(found.disparity, 100, 0.2, found.mask)).all()
    # Dots at infinity match at 0, of which there is no depth.
    found = match(scene[:, :20], scene[:, :20])
    np.testing.assert_array_equal(found.disparity[:, 8:], 0)
    assert not np.asarray(found.mask).any()


@pytest.mark.slow
@pytest.mark.covers("CL-12")
def test_a_slanted_plane_within_two_percent():
    """Disparity 4 + x / 20 over columns x of the left image, so right(x - d(x)) = left(x)."""
    x = np.arange(72.0)[None] + np.zeros((24, 1))
    # x_right = x - 4 - x / 20 = .95 x - 4, so that x = (x_right + 4) / .95
    left, right = row_texture(x, 24), row_texture((x + 4) / 0.95, 24)
    found = jax.jit(lambda a, b: block_matching(a, b, 10, 7))(left, right)
    depth = np.asarray(disparity_to_depth(found.disparity, 100.0, 0.2, found.mask))
    expected = 20 / (4 + x / 20)
    mask = np.asarray(found.mask)
    assert mask[:, 12:].mean() > 0.9
    assert np.median(np.abs(depth - expected)[mask] / expected[mask]) <= 0.02
    constant = np.median(expected)
    assert np.median(np.abs(constant - expected)[mask] / expected[mask]) > 0.05


@pytest.mark.slow
@pytest.mark.covers("CL-12")
def test_random_dots_with_three_depths():
    """Rows of dots: disparity 3 with rectangles of 6 and 9 in front; bad-1.0 of visible pixels at most 5 %."""
    rng = np.random.default_rng(0)
    height, width = 60, 100
    truth = np.full((height, width), 3)
    truth[10:50, 25:55] = 6
    truth[20:40, 60:85] = 9
    left = rng.uniform(size=(height, width)).astype(np.float32)
    right = rng.uniform(size=(height, width)).astype(np.float32)
    nearest = np.zeros((height, width), int)
    for d in (3, 6, 9):
        for r, c in np.argwhere(truth == d):
            if c - d >= 0:
                right[r, c - d], nearest[r, c - d] = left[r, c], d
    rows, columns = np.mgrid[:height, :width]
    visible = (columns >= 12) & (nearest[rows, np.maximum(columns - truth, 0)] == truth)
    found = jax.jit(lambda a, b: block_matching(a, b, 12, 5))(left, right)
    bad = np.abs(np.asarray(found.disparity) - truth) > 1
    judged = visible & np.asarray(found.mask)
    assert judged[visible].mean() > 0.9
    assert bad[judged].mean() <= 0.05
    assert (np.abs(3 - truth) > 1)[visible].mean() > 0.2


@pytest.mark.slow
def test_equal_windows_tie_at_any_scale_of_the_images():
    left, right = np.random.default_rng(0).integers(0, 3, (2, 12, 12)).astype(np.float32)
    scales = (1, 2.0**-13, 2.0**13)
    expected, *others = (block_matching(left * scale, right * scale, 4, window=5).disparity for scale in scales)
    for other in others:
        np.testing.assert_allclose(other, expected, rtol=1e-6)
    sums = np.stack([np.abs(left[3:8, 5:10] - right[3:8, 5 - d : 10 - d]).sum() for d in range(5)])
    assert int(np.round(expected[5, 7])) == sums.argmin()
