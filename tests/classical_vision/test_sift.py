"""SIFT: descriptors by hand, and matches of a turned, scaled and dimmed photograph."""

import importlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from dlcore.classical_vision.matching import match_descriptors
from dlcore.classical_vision.sift import describe, octave_keypoints, sift
from dlcore.data.sample_images import sample_image

MODULE = importlib.import_module("dlcore.classical_vision.sift")  # the package has a function of this name


@pytest.fixture(scope="module")
def describe_one():
    return jax.jit(lambda levels, point, angle: describe(levels, point, jnp.zeros(1, int), jnp.ones(1), angle))


@pytest.mark.covers("CL-07")
def test_a_ramp_has_one_angle_in_every_cell(describe_one):
    """A ramp to the right: only bin 0 of each of the 16 cells. The Gaussian, symmetric, makes 3 kinds of cells: 4
    corners, 8 edges, 4 in the middle. Turned by 90°, the point sees the slope at -90°: bin 6 of 8."""
    image = jnp.broadcast_to(jnp.arange(24.0) / 24, (1, 24, 24))
    point = jnp.array([[11.5, 11.5]])
    cells = np.asarray(describe_one(image, point, jnp.zeros(1))).reshape(16, 8)
    assert np.linalg.norm(cells) == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(cells[:, 1:], 0, atol=1e-6)
    grid = cells[:, 0].reshape(4, 4)
    np.testing.assert_allclose(grid, grid.T, atol=1e-5)
    # All votes are at least .2 of the norm before the cut, but those in the corners.
    assert grid[0, 0] < grid[0, 1] <= grid[1, 1] + 1e-6
    turned = np.asarray(describe_one(image, point, jnp.full(1, np.pi / 2))).reshape(16, 8)
    np.testing.assert_allclose(turned[:, 6], cells[:, 0], atol=1e-4)


@pytest.mark.covers("CL-07")
def test_descriptors_turn_with_the_image_and_ignore_light(describe_one):
    rng = np.random.default_rng(0)
    image = ndimage.gaussian_filter(rng.uniform(size=(25, 25)), 1.5).astype(np.float32)
    point = jnp.array([[12.0, 12.0]])
    here = np.asarray(describe_one(image[None], point, jnp.full(1, 0.3)))
    # A quarter turn takes what was down to the right: angles change by -90°.
    turned = np.asarray(describe_one(np.rot90(image)[None].copy(), point, jnp.full(1, 0.3 - np.pi / 2)))
    np.testing.assert_allclose(turned, here, atol=0.02)
    np.testing.assert_allclose(describe_one(0.5 * image[None] + 0.2, point, jnp.full(1, 0.3)), here, atol=1e-3)
    other = np.asarray(describe_one(image[None, ::-1].copy(), point, jnp.full(1, 0.3)))
    assert np.linalg.norm(other - here) > 0.3


def warped(image, angle, scale):
    """(the image turned about its middle and scaled, the 2x3 map of points)."""
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    matrix = np.array([[cos, -sin], [sin, cos]])
    middle = (np.array(image.shape)[::-1] - 1) / 2
    shift = middle - matrix @ middle
    inverse = np.linalg.inv(matrix)
    offset = (inverse @ -shift)[::-1]
    smooth = ndimage.gaussian_filter(image, 0.5 * max(1 / scale - 1, 0))
    return ndimage.affine_transform(smooth, inverse[::-1, ::-1], offset, order=3, mode="nearest"), matrix, shift


def correct_matches(first, second, matrix, shift):
    """(matches by the ratio test whose true place is in reach, the part of them within 2 pixels of it), in NumPy."""
    a, b = (np.asarray(k.descriptors)[np.asarray(k.mask)] for k in (first, second))
    p, q = (np.asarray(k.points)[np.asarray(k.mask)] for k in (first, second))
    distance = np.linalg.norm(a[:, None] - b, axis=-1)
    nearest = np.sort(distance, 1)
    index, clear = distance.argmin(1), nearest[:, 0] < 0.8 * nearest[:, 1]
    error = np.linalg.norm(q[index] - (p @ matrix.T + shift), axis=1)
    return int(clear.sum()), float((error[clear] <= 2).mean())


@pytest.fixture(scope="module")
def keypoints():
    return jax.jit(lambda levels: octave_keypoints(levels, 60, 0.005))


@pytest.mark.covers("CL-07")
def test_extrema_are_those_of_quadratics(keypoints):
    """The differences of blurs are h - a x^2 - b y^2 - e s^2 around places between pixels, where that is positive.

    Their axes are turned: also - 2 (f x y + g x s + k y s), f = b / 4, g = a / 4, k = b / 4.

    Curvatures up to 10 to 1 and contrasts from .005 are kept. The image is a ramp to the right, so that all keypoints
    have the angle 0. The scale is 1.6 x 2^(s / 3).
    """
    s, y, x = np.mgrid[:5, :72, :72]
    # Column, row, scale; h, a, b, e; whether it is kept.
    caps = [
        (10.25, 12.0, 2.0, 0.02, 0.002, 0.002, 0.004, True),
        (30.0, 20.25, 1.75, 0.04, 0.004, 0.0008, 0.008, True),
        (50.0, 40.0, 2.25, -0.03, 0.003, 0.003, 0.006, True),  # the darkest
        (20.0, 50.0, 2.0, 0.03, 0.0045, 0.0005, 0.006, True),  # 9 to 1
        (45.0, 12.0, 2.0, 0.03, 0.006, 0.0005, 0.006, False),  # 12 to 1: an edge
        (60.0, 60.0, 2.0, 0.0049, 0.0005, 0.0005, 0.001, False),  # faint
        (40.0, 60.0, 2.0, 0.0051, 0.0005, 0.0005, 0.001, True),
        (4.0, 36.0, 2.0, 0.03, 0.003, 0.003, 0.006, False),  # within 5 of the border
    ]
    difference = np.zeros((5, 72, 72))
    for c, r, t, h, a, b, e, _ in caps:
        cap = np.abs(h) - a * (x - c) ** 2 - b * (y - r) ** 2 - e * (s - t) ** 2
        cap -= (b * (x - c) * (y - r) + a * (x - c) * (s - t) + b * (y - r) * (s - t)) / 2
        difference += np.sign(h) * np.maximum(cap, 0)
    levels = x[0] + np.concatenate([np.zeros((1, 72, 72)), difference.cumsum(0)])
    found = jax.device_get(keypoints(levels.astype(np.float32)))
    kept = np.asarray(found.mask)
    rows = np.column_stack([found.points, found.sigmas, found.scores])[kept]
    expected = np.array([(c, r, 1.6 * 2 ** (t / 3), abs(h)) for c, r, t, h, *_, keep in caps if keep])
    order = [m[np.lexsort(m.T[:2].round())] for m in (rows, expected)]
    np.testing.assert_allclose(order[0], order[1], rtol=1e-3)
    np.testing.assert_allclose(np.cos(found.angles[kept]), 1, atol=1e-3)


@pytest.mark.covers("CL-07")
def test_the_strongest_are_counted_without_edges_and_faint_ones():
    """Of the differences h - a x^2 - b y^2 - e s^2: three edges (12 to 1) are higher than the three that are kept."""
    s, y, x = np.mgrid[:5, :40, :72]
    caps = [(c, 10, 0.05, 0.006, 0.0005) for c in (12, 32, 52)]  # column, row, height, curvatures
    caps += [(c, 28, h, 0.003, 0.003) for c, h in ((12, 0.02), (32, 0.03), (52, 0.025))]
    difference = np.zeros((5, 40, 72))
    for c, r, h, a, b in caps:
        difference += np.maximum(h - a * (x - c) ** 2 - b * (y - r) ** 2 - 0.006 * (s - 2) ** 2, 0)
    levels = (x[0] + np.concatenate([np.zeros((1, 40, 72)), difference.cumsum(0)])).astype(np.float32)
    found = jax.device_get(jax.jit(lambda levels: octave_keypoints(levels, 2, 0.005))(levels))
    np.testing.assert_allclose(found.points[found.mask], [[32, 28], [52, 28]], atol=1e-3)
    np.testing.assert_allclose(found.scores[found.mask], [0.03, 0.025], rtol=1e-3)


@pytest.mark.parametrize(("shape", "border"), [((20, 30), 2), ((21, 30), 5), ((30, 21), 5)])
def test_keypoints_keep_off_the_border_more_where_the_level_is_larger_than_20_pixels(shape, border):
    """Of three inner scales; each place may be two keypoints, of two angles."""
    levels = jax.ShapeDtypeStruct((6, *shape), jnp.float32)
    found = jax.eval_shape(lambda x: octave_keypoints(x, 10_000), levels)
    chex.assert_shape(found.mask, (2 * 3 * (shape[0] - 2 * border) * (shape[1] - 2 * border),))


@pytest.mark.covers("CL-07")
def test_octaves_are_halved_and_their_keypoints_merged_by_score(monkeypatch):
    """40 x 33 pixels become 79 x 65, 40 x 33 and 20 x 17, of half a pixel, one and two; blurs add to 1.6 2^(s / 3)."""
    blurs, calls = [], []

    def octave(levels, count, threshold, edge_ratio, pixel):
        calls.append((levels.shape, count, pytest.approx(threshold), edge_ratio, pixel))
        one = jnp.array([1.0, 2]) * pixel
        mask = jnp.array([True, pixel != 1])
        return MODULE.Keypoints(jnp.stack([one, one], 1), one, one, one, mask, jnp.tile(one[:, None], (1, 128)))

    monkeypatch.setattr(MODULE, "octave_keypoints", octave)
    monkeypatch.setattr(MODULE, "gaussian_filter", lambda x, sigma: blurs.append(sigma) or x)
    found = jax.jit(lambda: sift(jnp.zeros((40, 33)), 7, 0.06, 8.0))()
    assert calls == [((6, h, w), 7, 0.02, 8.0, p) for h, w, p in ((79, 65, 0.5), (40, 33, 1), (20, 17, 2))]
    # Scores (.5, 1), (1, -), (2, 4) without the masked one; two rows of 7 are empty.
    np.testing.assert_array_equal(found.scores, [4, 2, 1, 1, 0.5, 0, 0])
    np.testing.assert_array_equal(found.mask, [True] * 5 + [False] * 2)
    np.testing.assert_array_equal(found.points[:, 1], found.scores)
    # 1.6^2 = 1^2 + first^2, and (1.6 2^(s / 3))^2 = (1.6 2^((s - 1) / 3))^2 + next^2.
    total = [1.0]
    for blur in blurs[:6]:
        total.append(np.hypot(total[-1], blur))
    np.testing.assert_allclose(total[1:], 1.6 * 2 ** (np.arange(6) / 3), rtol=1e-6)
    blurs.clear()
    calls.clear()
    least = jax.jit(lambda: sift(jnp.zeros((16, 33)), 1, edge_ratio=1, octaves=1, double=False))()
    assert [call[0] for call in calls] == [(6, 16, 33)]
    assert np.hypot(0.5, blurs[0]) == pytest.approx(1.6)
    np.testing.assert_array_equal(least.scores, [1])


@pytest.mark.covers("CL-07")
def test_matches_of_a_turned_scaled_and_dimmed_image_are_right(keypoints):
    """One octave of smooth noise, with SciPy's blurs; raw patches of the same points do not match."""
    image = ndimage.gaussian_filter(np.random.default_rng(0).uniform(size=(72, 72)), 2)
    image = (image - image.min()) / np.ptp(image)
    other, matrix, shift = warped(image, np.deg2rad(30), 1.2)
    other = 0.6 * np.clip(other, 0, 1) + 0.1
    blurs = [1.6 * 2 ** (s / 3) for s in range(6)]
    first, second = (
        keypoints(np.stack([ndimage.gaussian_filter(x, b, mode="nearest") for b in blurs]).astype(np.float32))
        for x in (image, other)
    )
    count, correct = correct_matches(first, second, matrix, shift)
    assert count >= 20
    assert correct >= 0.8
    check_angles_and_descriptors(image, [ndimage.gaussian_filter(image, b, mode="nearest") for b in blurs], first)


def check_angles_and_descriptors(image, levels, found):
    """Each point's one or two angles and its descriptor by the paper's sums, in NumPy, on the level of its scale.

    At whole pixels, slopes outside or at the border of the image are 0. Angles: 13 x 13 samples of 1.5 sigma to three
    deviations, 36 bins smoothed twice. Descriptor: 16 x 16 samples of 3/4 sigma, a Gaussian of half their width.
    """

    def slopes(level, rows, columns):
        r, c = np.rint(rows), np.rint(columns)
        inside = (rows >= 1) & (rows <= 70) & (columns >= 1) & (columns <= 70)
        r, c = (np.clip(x, 1, 70).astype(int) for x in (r, c))
        return inside * (level[r, c + 1] - level[r, c - 1]) / 2, inside * (level[r + 1, c] - level[r - 1, c]) / 2

    def vote(angle, bins):
        far = np.abs((angle[..., None] * bins / (2 * np.pi) - np.arange(bins) + bins / 2) % bins - bins / 2)
        return np.maximum(0, 1 - far)

    kept = np.asarray(found.mask).reshape(-1, 2)
    rows = [np.asarray(x).reshape(-1, 2, *x.shape[1:]) for x in (found.points, found.sigmas, found.angles)]
    descriptors = np.asarray(found.descriptors).reshape(-1, 2, 128)
    agree = []
    for i in np.flatnonzero(kept.any(1)):
        (column, row), sigma = rows[0][i, 0], rows[1][i, 0]
        level = levels[int(np.rint(3 * np.log2(sigma / 1.6)))].astype(np.float32)
        y, x = np.mgrid[-3:3:13j, -3:3:13j]
        right, down = slopes(level, row + 1.5 * sigma * y, column + 1.5 * sigma * x)
        weight = np.hypot(right, down) * np.exp(-(x**2 + y**2) / 2) * (x**2 + y**2 <= 9)
        histogram = (weight[..., None] * vote(np.arctan2(down, right), 36)).sum((0, 1))
        histogram = ndimage.convolve1d(histogram, [1 / 9, 2 / 9, 3 / 9, 2 / 9, 1 / 9], mode="wrap")
        before, after = np.roll(histogram, 1), np.roll(histogram, -1)
        peaks = np.flatnonzero((histogram > before) & (histogram >= after) & (histogram >= 0.8 * histogram.max()))
        peaks = peaks[np.argsort(-histogram[peaks])][:2]
        shift = (before - after)[peaks] / 2 / (before - 2 * histogram + after)[peaks]
        expected = (peaks + shift) * 2 * np.pi / 36
        assert kept[i].tolist() == [True, len(peaks) == 2]
        agree.append(np.abs(rows[2][i, : len(peaks)] - expected).max())
        for angle, got in zip(expected, descriptors[i], strict=False):
            y, x = np.mgrid[-7.5:8:1, -7.5:8:1] * 0.75 * sigma
            cos, sin = np.cos(angle), np.sin(angle)
            right, down = slopes(level, row + sin * x + cos * y, column + cos * x - sin * y)
            along, across = cos * right + sin * down, cos * down - sin * right
            y, x = np.mgrid[-7.5:8:1, -7.5:8:1] / 16
            weight = np.hypot(along, across) * np.exp(-(x**2 + y**2) / (2 * 0.5**2))
            cells = np.maximum(0, 1 - np.abs((np.arange(16) + 0.5) / 4 - 0.5 - np.arange(4)[:, None]))
            wanted = np.einsum("rc,rco,ir,jc->ijo", weight, vote(np.arctan2(across, along), 8), cells, cells).ravel()
            wanted = np.minimum(wanted / np.linalg.norm(wanted), 0.2)
            agree.append(np.abs(got - wanted / np.linalg.norm(wanted)).max())
    agree = np.array(agree)
    assert len(agree) > 50
    # A sample that lies between two pixels may be rounded to the other.
    assert (agree < 1e-3).mean() > 0.9, agree


@pytest.fixture(scope="module")
def photograph():
    return sample_image("china", 200).astype(np.float32).mean(-1) / 255


@pytest.mark.weekly
@pytest.mark.covers("CL-07", "CL-08")
@pytest.mark.parametrize(("angle", "scale", "light"), [(30, 1, 1), (0, 1.5, 1), (0, 1, 0.6), (20, 0.8, 0.7)])
def test_matches_of_a_photograph_are_right(photograph, angle, scale, light):
    """At least 100 matches by the ratio test, 80 % of them within 2 pixels of where the warp takes the point."""
    other, matrix, shift = warped(photograph, np.deg2rad(angle), scale)
    run = jax.jit(lambda x: sift(x, 600))
    first, second = run(photograph), run((light * np.clip(other, 0, 1)).astype(np.float32))
    matches = match_descriptors(first.descriptors, second.descriptors, first_mask=first.mask, second_mask=second.mask)
    kept = np.array(matches.mask)
    expected = np.asarray(first.points) @ matrix.T + shift
    inside = ((expected >= 0) & (expected <= np.array(photograph.shape)[::-1] - 1)).all(1)
    kept &= inside
    error = np.linalg.norm(np.asarray(second.points)[np.asarray(matches.index)] - expected, axis=1)
    assert kept.sum() >= 100
    assert (error[kept] <= 2).mean() >= 0.8


@pytest.mark.weekly
@pytest.mark.covers("CL-07")
def test_a_blob_is_found_where_it_is_with_its_scale():
    """A Gaussian blob of deviation 4 has its extremum at (30, 24) and scale 4 (Lindeberg: t = σ²)."""
    y, x = np.mgrid[:48, :60]
    image = (0.2 + 0.7 * np.exp(-((x - 30) ** 2 + (y - 24) ** 2) / (2 * 4**2))).astype(np.float32)
    found = jax.jit(lambda x: sift(x, 8))(image)
    assert bool(found.mask[0])
    np.testing.assert_allclose(found.points[0], [30, 24], atol=0.2)
    assert float(found.sigmas[0]) == pytest.approx(4, rel=0.2)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"image=float32\[8, 8\]: wrong type"):
        sift(np.zeros((8, 8), np.float32))
    for setting in ({"count": 0}, {"contrast_threshold": 0.0}, {"edge_ratio": 0.9}, {"octaves": 0}):
        name, value = next(iter(setting.items()))
        with pytest.raises(ValueError, match=rf"{name}={value}.*: out of range"):
            sift(np.zeros((20, 20), np.float32), **setting)


@pytest.mark.weekly
@pytest.mark.covers("CL-07")
def test_a_batch_equals_its_images_and_small_images_are_filled_up():
    """vmap of two images is each alone; rows beyond the keypoints are zeros and masked, as many as asked for."""
    images = ndimage.gaussian_filter(np.random.default_rng(0).uniform(size=(2, 24, 28)), (0, 1.5, 1.5))
    images = (4 * images - 1.5).clip(0, 1).astype(np.float32)
    run = lambda x: sift(x, 3000, octaves=1, double=False)  # noqa: E731
    batched = jax.jit(jax.vmap(run))(images)
    alone = jax.jit(run)(images[1])
    chex.assert_shape(alone.descriptors, (3000, 128))
    assert alone.mask.dtype == bool
    assert 0 < alone.mask.sum() < 500
    for a, b in zip(batched, alone, strict=True):
        np.testing.assert_allclose(a[1], b, atol=1e-4)
        assert not np.asarray(b)[~np.asarray(alone.mask)].any()
    np.testing.assert_allclose(np.linalg.norm(alone.descriptors, axis=1)[np.asarray(alone.mask)], 1, atol=1e-4)
