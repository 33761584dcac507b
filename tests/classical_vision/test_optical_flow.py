"""Optical flow: OpenCV's numbers, known translations, and motions that cannot be known."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from dlcore.classical_vision.optical_flow import dense_lucas_kanade, endpoint_error, horn_schunck, lucas_kanade

GOLDENS = np.load(Path(__file__).parents[1] / "goldens" / "classical_vision.npz")


def texture(shift, size=48, seed=0, longest=40.0, shortest=8.0):
    """A sum of waves, moved by (right, down) without interpolation."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size].astype(np.float64)
    image = np.zeros((size, size))
    for _ in range(24):
        angle, phase = rng.uniform(0, 2 * np.pi, 2)
        k = 2 * np.pi / rng.uniform(shortest, longest)
        image += np.cos(k * ((x - shift[0]) * np.cos(angle) + (y - shift[1]) * np.sin(angle)) + phase)
    return (0.5 + image / 24).astype(np.float32)


@pytest.mark.slow
@pytest.mark.covers("CL-14")
def test_sparse_flow_is_opencvs():
    """cv2.calcOpticalFlowPyrLK, windows of 9 and one halving; it calculates in fixed point."""
    a, b = (GOLDENS[f"lucas_kanade/in.{n}"].astype(np.float32) / 255 for n in "ab")
    points = GOLDENS["lucas_kanade/in.points"]
    found = jax.jit(lambda a, b, p: lucas_kanade(a, b, p, levels=2, iterations=20))(a, b, points)
    assert np.asarray(found.mask).all()
    np.testing.assert_allclose(points + found.flow, GOLDENS["lucas_kanade/out.points"], atol=0.05)


def numpy_flow():
    """(a pair of unlike images of 22 x 28 pixels, functions of SciPy and NumPy that the flows are made of)."""
    rng = np.random.default_rng(0)
    first, second = ndimage.gaussian_filter(rng.uniform(size=(2, 22, 28)), (0, 2, 2)) * 4

    def separable(image, down, across):
        return ndimage.correlate1d(ndimage.correlate1d(image, down, 0, mode="nearest"), across, 1, mode="nearest")

    def slopes(image):
        smooth, difference = np.array([3, 10, 3]) / 16, np.array([-0.5, 0, 0.5])
        return separable(image, smooth, difference), separable(image, difference, smooth)

    def halved(image):
        return separable(image, np.array([1, 4, 6, 4, 1]) / 16, np.array([1, 4, 6, 4, 1]) / 16)[::2, ::2]

    def read(image, x, y):
        return ndimage.map_coordinates(image, [y, x], order=1, mode="nearest")

    return (first, second), separable, slopes, halved, read


@pytest.mark.covers("CL-14")
def test_tracks_are_those_of_numpy_at_the_edges_too():
    """Two levels, two steps each, windows of 5: least squares of each window, a point after the other."""
    (first, second), _, slopes, halved, read = numpy_flow()
    points = np.array([[3.0, 4], [14.5, 9.25], [26, 20], [27, 0]])
    with jax.enable_x64(True):
        sparse = jax.jit(lambda a, b: lucas_kanade(a, b, points, 5, 2, 2, 1e-4))(first, second)
    pairs = [(first, second), (halved(first), halved(second))]
    y, x = np.mgrid[-2:3, -2:3]
    for i, point in enumerate(points):
        flow = np.zeros(2)
        for level in (1, 0):
            (before, after), place, flow = pairs[level], point / 2**level, flow * (2 - level)
            g = np.stack([read(s, place[0] + x, place[1] + y).ravel() for s in slopes(before)], 1)
            eigenvalue = np.linalg.eigvalsh(g.T @ g / 25)[0]
            for _ in range(2 if eigenvalue >= 1e-4 else 0):
                there = place + flow
                rest = read(before, place[0] + x, place[1] + y) - read(after, there[0] + x, there[1] + y)
                flow = flow + np.linalg.lstsq(g, rest.ravel(), rcond=None)[0]
        inside = (point + flow >= 0).all() and (point + flow <= [27, 21]).all()
        np.testing.assert_allclose(sparse.flow[i], flow, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(sparse.eigenvalue[i], eigenvalue, rtol=1e-6)
        assert sparse.mask[i] == (inside and eigenvalue >= 1e-4)


@pytest.mark.slow
@pytest.mark.covers("CL-14")
def test_dense_flow_is_that_of_numpy_at_the_edges_too():
    """The same at every pixel, and a window's equations are those of the whole flow, not of its change."""
    (first, second), separable, slopes, halved, read = numpy_flow()
    with jax.enable_x64(True):
        dense = jax.jit(lambda a, b: dense_lucas_kanade(a, b, 5, 2, 2, 1e-4))(first, second)
    pairs = [(first, second), (halved(first), halved(second))]
    box, flow = np.full(5, 1 / 5), np.zeros((11, 14, 2))
    for level in (1, 0):
        before, after = pairs[level]
        flow = flow if level else 2 * flow.repeat(2, 0).repeat(2, 1)
        gx, gy = slopes(before)
        tensor = np.stack([separable(p, box, box) for p in (gx * gx, gx * gy, gx * gy, gy * gy)], -1)
        tensor = tensor.reshape(*before.shape, 2, 2)
        eigenvalue = np.linalg.eigvalsh(tensor)[..., 0]
        rows, columns = np.indices(before.shape)
        for _ in range(2):
            rest = gx * flow[..., 0] + gy * flow[..., 1] + before
            rest = rest - read(after, columns + flow[..., 0], rows + flow[..., 1])
            right = np.stack([separable(gx * rest, box, box), separable(gy * rest, box, box)], -1)[..., None]
            flow = np.where(eigenvalue[..., None] >= 1e-4, np.linalg.solve(tensor, right)[..., 0], flow)
    end = np.stack([columns, rows], -1) + flow
    inside = ((end >= 0) & (end <= [27, 21])).all(-1)
    np.testing.assert_allclose(dense.flow, flow, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(dense.eigenvalue, eigenvalue, rtol=1e-5, atol=1e-12)
    np.testing.assert_array_equal(dense.mask, inside & (eigenvalue >= 1e-4))
    assert 0.1 < np.mean(dense.mask) < 0.95
    assert (eigenvalue < 1e-4).any()


@pytest.mark.covers("CL-14")
def test_the_steps_of_one_energy_are_those_of_numpy():
    """Three of Horn and Schunck: the mean of the eight neighbors, corrected along the mean slope of both images."""
    images, _, slopes, *_ = numpy_flow()
    first, second = (ndimage.gaussian_filter(image, 0.7, mode="nearest") for image in images)
    right, down = ((a + b) / 2 for a, b in zip(slopes(first), slopes(second), strict=True))
    neighbors = np.array([[1, 2, 1], [2, 0, 2], [1, 2, 1]]) / 12
    flow = np.zeros((2, 22, 28))
    for _ in range(3):
        mean = np.stack([ndimage.correlate(part, neighbors, mode="nearest") for part in flow])
        rest = (right * mean[0] + down * mean[1] + second - first) / (0.1**2 + right**2 + down**2)
        flow = mean - rest * np.stack([right, down])
    with jax.enable_x64(True):
        found = jax.jit(lambda a, b: horn_schunck(a, b, 0.1, 3, 0.7))(*images)
    np.testing.assert_allclose(np.moveaxis(found, -1, 0), flow, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.covers("CL-14")
def test_a_translation_is_found_to_a_tenth_of_a_pixel():
    """6.3 and -4.6 pixels by three levels, at points whose windows stay inside."""
    shift = np.array([6.3, -4.6])
    y, x = np.mgrid[16:40:8, 12:36:8]
    points = np.stack([x.ravel(), y.ravel()], 1).astype(np.float32)
    found = jax.jit(lambda a, b: lucas_kanade(a, b, points))(texture((0, 0)), texture(shift))
    assert np.asarray(found.mask).all()
    assert np.asarray(endpoint_error(found.flow, shift)).max() <= 0.1


@pytest.mark.slow
@pytest.mark.weekly(only=["shift0"])
@pytest.mark.covers("CL-14")
@pytest.mark.parametrize("shift", [(1.4, 0.7), (-3.2, 5.1), (8.0, 0.0)])
def test_dense_flow_of_a_translation(shift):
    found = jax.jit(dense_lucas_kanade)(texture((0, 0), 64), texture(shift, 64))
    error = np.asarray(endpoint_error(found.flow, np.array(shift)))[16:-16, 16:-16]
    assert np.median(error) <= 0.1
    assert np.asarray(found.mask)[16:-16, 16:-16].all()


@pytest.mark.slow
def test_pixels_that_leave_the_image_have_no_match():
    """All pixels of a still image stay, at its edges too; where it moves 3 to the right, its last columns leave."""
    track = jax.jit(lambda a, b: dense_lucas_kanade(a, b, levels=1, iterations=9))
    assert np.asarray(track(texture((0, 0), 32), texture((0, 0), 32)).mask).all()
    moved = track(texture((0, 0), 32), texture((3, 0), 32))
    assert (np.asarray(moved.mask)[8:24, -1] == 0).all()
    np.testing.assert_allclose(np.asarray(moved.flow)[12:20, 12:20], np.broadcast_to([3, 0], (8, 8, 2)), atol=0.1)


@pytest.mark.covers("CL-14")
def test_the_motion_along_stripes_cannot_be_known():
    """Vertical stripes, moved by (1, 1): only 1 to the right shows (aperture problem); a flat image says nothing."""
    x = np.arange(24)[None] + np.zeros((24, 1))
    a, b = (0.5 + 0.3 * np.cos(2 * np.pi * (x - d) / 12).astype(np.float32) for d in (0, 1))
    points = np.array([[12, 12]], np.float32)
    run = jax.jit(lambda a, b: (lucas_kanade(a, b, points, levels=1), horn_schunck(a, b)))
    (sparse, dense), (flat, _) = run(a, b), run(0 * a + 0.5, 0 * a + 0.5)
    assert not sparse.mask[0]
    assert not flat.mask[0]
    np.testing.assert_array_equal(flat.flow, 0)
    np.testing.assert_allclose(np.asarray(dense)[8:16, 8:16], np.broadcast_to([1, 0], (8, 8, 2)), atol=0.15)


@pytest.mark.covers("CL-14")
def test_one_energy_finds_a_moving_disc_and_fills_what_has_no_texture():
    """A textured disc of radius 12 moves by (.6, -.3) before a gray ground: the disc within .3 pixels."""
    y, x = np.mgrid[:40, :40] - 20.0

    def image(shift):
        inside = 1 / (1 + np.exp(2 * (np.hypot(x - shift[0], y - shift[1]) - 12)))
        return (0.5 + inside * (texture(shift, 40) - 0.3)).astype(np.float32)

    flow = np.asarray(jax.jit(horn_schunck)(image((0, 0)), image((0.6, -0.3))))
    inside = np.hypot(x, y) < 9
    assert np.asarray(endpoint_error(flow, np.array([0.6, -0.3])))[inside].max() <= 0.3
    assert np.abs(flow[1, 1]).max() > 0


def test_one_step_of_horn_and_schunck_by_hand():
    """A ramp of slope .1 a pixel to the right, .05 brighter: from zero, u = -I_x I_t / (α² + I_x²) inside."""
    first = jnp.broadcast_to(jnp.arange(9.0) / 10, (9, 9))
    flow = jax.jit(lambda a, b: horn_schunck(a, b, 0.2, 1, 0))(first, first + 0.05)
    np.testing.assert_allclose(flow[4, 4], [-0.1 * 0.05 / (0.04 + 0.01), 0], atol=1e-6)


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.float16])
def test_points_of_whole_numbers_are_tracked_between_pixels(dtype):
    points = np.array([[24, 20], [18, 30]])
    track = jax.jit(lambda a, b, p: lucas_kanade(a, b, p, levels=1))
    found = track(texture((0, 0)), texture((1.4, 0.7)), points.astype(dtype))
    assert np.asarray(found.mask).all()
    np.testing.assert_allclose(found.flow, np.broadcast_to([1.4, 0.7], (2, 2)), atol=0.1)


def test_the_endpoint_error_is_a_distance_with_a_gradient():
    """3 and 4 are 5 apart, in bytes too; the gradient is the unit vector, 0 where the two are equal."""
    assert float(endpoint_error(np.array([3, 0], np.uint8), np.array([0, 4], np.uint8))) == 5
    flow, target = jnp.array([[3.0, 0], [1, 2]]), jnp.array([[0.0, 4], [1, 2]])
    gradient = jax.grad(lambda flow: endpoint_error(flow, target).sum())(flow)
    np.testing.assert_allclose(gradient, [[0.6, -0.8], [0, 0]], rtol=1e-6)


def test_bad_input_is_named():
    image = jnp.zeros((16, 16))
    for first, second in ((image, image[:8]), (image[None], image[None]), (image.astype(int), image.astype(int))):
        with pytest.raises(ValueError, match="floating, both"):
            dense_lucas_kanade(first, second)
    with pytest.raises(ValueError, match=r"window=9, levels=2: do not fit images of \(16, 16\)"):
        dense_lucas_kanade(image, image, levels=2)
    for settings in ({"levels": 0}, {"window": 4, "levels": 1}, {"window": -1, "levels": 1}):
        with pytest.raises(ValueError, match="do not fit images"):
            dense_lucas_kanade(image, image, **settings)
    wide = jax.ShapeDtypeStruct((18, 20), jnp.float32)  # two levels of 9 fit just
    assert jax.eval_shape(lambda a: dense_lucas_kanade(a, a, levels=2, iterations=1), wide).flow.shape == (18, 20, 2)
    with pytest.raises(ValueError, match=r"second\[0, 0\]=nan: not finite"):
        horn_schunck(image, image.at[0, 0].set(jnp.nan))
    with pytest.raises(ValueError, match="alpha=0: out of range"):
        horn_schunck(image, image, 0)


def test_flow_does_not_depend_on_the_brightness():
    first = np.random.default_rng(0).random((12, 12)).round(3)
    second = np.roll(first, 1, 1)
    expected = horn_schunck(first, second, iterations=20)
    np.testing.assert_allclose(horn_schunck(first + 1e4, second + 1e4, iterations=20), expected, rtol=1e-3, atol=1e-4)
