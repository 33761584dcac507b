"""Corners: scikit-image's maps, a square, quarter turns and magnification."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.classical_vision.corners import detect_corners, harris_response, shi_tomasi_response

GOLDENS = np.load(Path(__file__).parents[1] / "goldens" / "classical_vision.npz")
GREY = GOLDENS["data/grey"]


@pytest.fixture(scope="module")
def maps():
    with jax.enable_x64(True):
        run = jax.jit(lambda x: (harris_response(x), harris_response(x, method="eps"), shi_tomasi_response(x)))
        return run(GREY.astype(np.float64))


@pytest.mark.covers("CL-06")
@pytest.mark.parametrize("index", range(3))
def test_maps_are_scikit_images(maps, index):
    name = ("harris.k", "harris.eps", "shi_tomasi")[index]
    np.testing.assert_allclose(maps[index], GOLDENS[f"{name}/out"], atol=1e-6)


@pytest.mark.covers("CL-06")
def test_peaks_are_scikit_images(maps):
    found = jax.jit(lambda r: detect_corners(r, 8, refine=False))(np.asarray(maps[0], np.float32))
    peaks = np.asarray(found.points)[np.asarray(found.mask)][:, ::-1]
    assert {tuple(p) for p in peaks} == {tuple(p) for p in GOLDENS["corner_peaks/out"].astype(float)}


@pytest.mark.covers("CL-06")
def test_a_square_has_four_corners_which_turn_with_it():
    """A bright square of rows 8 to 15 and columns 10 to 19: four corners within a pixel; an edge and a flat have none.
    A quarter turn maps (column, row) to (row, 27 - column)."""
    image = np.zeros((28, 28), np.float32)
    image[8:16, 10:20] = 1
    detect = jax.jit(lambda x: detect_corners(harris_response(x), 6))
    found, turned = detect(image), detect(np.rot90(image).copy())
    assert int(found.mask.sum()) == int(turned.mask.sum()) == 4
    points = np.asarray(found.points)[:4]
    corners = np.array([[10, 8], [19, 8], [10, 15], [19, 15]])
    assert (np.abs(points[:, None] - corners).max(-1).min(0) <= 1).all()
    expected = np.stack([points[:, 1], 27 - points[:, 0]], 1)
    distances = np.abs(expected[:, None] - np.asarray(turned.points)[None, :4]).max(-1)
    assert (distances.min(1) < 0.01).all()
    response = np.asarray(jax.jit(harris_response)(image))
    assert response[12, 10] < 0
    assert response[2, 2] == 0


@pytest.mark.covers("CL-06")
def test_a_corner_is_lost_when_magnified():
    """A disc of radius 2 is a corner to a window of 1 pixel; magnified 8 times its border is an edge, R < 0."""

    def border_response(radius):
        y, x = np.mgrid[-24:25, -24:25]
        disc = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1).astype(np.float32)
        return np.asarray(respond(disc))[24, 24 - radius : 24 + radius + 1]

    respond = jax.jit(harris_response)
    assert border_response(2).max() > 0.1
    edge = border_response(16)
    assert edge[0] < 0
    assert edge.max() < 0.01 * border_response(2).max()


def test_bad_input_is_named():
    for count in (0, 10):
        with pytest.raises(ValueError, match=rf"count={count} of response.shape=\(3, 3\)"):
            detect_corners(jnp.zeros((3, 3)), count)
    with pytest.raises(ValueError, match="min_distance=0: out of range"):
        detect_corners(jnp.zeros((3, 3)), 1, 0)
    for count in (1, 9):
        assert jax.eval_shape(lambda x, n=count: detect_corners(x, n).points, jnp.zeros((3, 3))).shape == (count, 2)


@pytest.mark.covers("CL-06")
def test_peaks_of_a_wide_map_are_those_of_loops():
    """Largest of 3 x 5 pixels around them by (1, 1), above .3 of the largest, not at the edge; of equals the first."""
    response = np.random.default_rng(0).uniform(-3, 9, (9, 12)).astype(np.float32)
    response[4, 6] = response[4, 7] = 10
    expected = []
    for r, c in np.ndindex(7, 10):
        window, here = response[r : r + 3, c : c + 3], response[r + 1, c + 1]
        if here > 3 and here == window.max() and window.ravel().tolist().index(here) == 4:
            steps = [
                (before - after) / 2 / (before - 2 * here + after) if before - 2 * here + after < 0 else 0
                for before, after in ((window[1, 0], window[1, 2]), (window[0, 1], window[2, 1]))
            ]
            expected.append((-here, r * 12 + c, c + 1 + steps[0], r + 1 + steps[1]))
    expected = np.array(sorted(expected))
    found = jax.jit(lambda x: detect_corners(x, 30, 1, 0.3, border=0))(response)
    count = len(expected)
    assert 5 < count < 30
    np.testing.assert_array_equal(found.mask, np.arange(30) < count)
    np.testing.assert_array_equal(found.scores, np.append(-expected[:, 0], np.zeros(30 - count)))
    np.testing.assert_allclose(found.points[:count], expected[:, 2:], rtol=1e-5)
    np.testing.assert_array_equal(found.points[count:], 0)


def test_maps_of_half_precision_and_peaks_of_whole_numbers_are_those_of_float32():
    """A structure tensor's determinant cancels in 11 bits, and a place between pixels is no whole number."""
    image = GREY[:24, :24].astype(np.float16)
    run = jax.jit(lambda x: (harris_response(x), shi_tomasi_response(x)))
    for got, expected in zip(run(image), run(image.astype(np.float32)), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-6)
    peak = np.zeros((9, 9), np.uint8)
    peak[4, 3:6] = [100, 200, 150]
    # The parabola through 100, 200, 150 has its top (150 - 100) / 2 / (400 - 250) = 1/6 to the right of the middle.
    found = jax.jit(lambda x: detect_corners(x, 1))(peak)
    np.testing.assert_allclose(found.points, [[4 + 1 / 6, 4]], rtol=1e-6)
