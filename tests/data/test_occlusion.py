"""Crops of a ramp by its values, erased shares, noise by its standard deviation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.data.augment import occlusion


def keys(n):
    return jax.random.split(jax.random.key(0), n)


@pytest.mark.slow
def test_a_crop_of_a_ramp_is_a_ramp_inside_it():
    ramp = jnp.broadcast_to(jnp.arange(16.0)[None, :, None], (16, 16, 1))
    out = np.asarray(jax.vmap(lambda k: occlusion.random_resized_crop((0.25, 0.25), (1, 1))(k, ramp))(keys(50)))
    # A quarter of the area is half the width: the ramp rises by 1/2 a pixel, away from the border.
    steps = np.diff(out[:, 8, :, 0], axis=1)[:, 2:-2]
    np.testing.assert_allclose(steps, 0.5, atol=1e-4)
    assert out.min() >= 0
    assert out.max() <= 15
    assert np.ptp(out[:, 8, 8, 0]) > 4  # places differ


@pytest.mark.slow
def test_the_whole_area_is_the_image():
    image = jax.random.uniform(jax.random.key(1), (9, 7, 3))
    out = occlusion.random_resized_crop((1, 1), (7 / 9, 7 / 9))(jax.random.key(0), image)
    np.testing.assert_allclose(out, image, atol=1e-5)


@pytest.mark.slow
def test_erasing_hides_a_box_of_its_area_as_often_as_asked():
    image = jnp.ones((20, 20, 1))
    out = np.asarray(jax.vmap(lambda k: occlusion.random_erasing(0.5, (0.2, 0.2), (1, 1))(k, image))(keys(300)))
    hidden = (out == 0).mean((1, 2, 3))
    assert 0.4 < (hidden > 0).mean() < 0.6
    assert np.abs(hidden[hidden > 0] - 0.2).max() < 0.06  # a side of sqrt(80) = 8.9 pixels, 8 to 9 of them inside
    rows, columns = np.nonzero(out[np.flatnonzero(hidden)[0], ..., 0] == 0)
    assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)


def test_noise_and_bad_numbers():
    out = occlusion.gaussian_noise(0.2)(jax.random.key(0), jnp.full((50, 50, 1), 0.5))
    assert float(out.std()) == pytest.approx(0.2, rel=0.05)
    assert float(out.mean()) == pytest.approx(0.5, abs=0.02)
    with pytest.raises(ValueError, match="area="):
        occlusion.random_resized_crop((0.0, 1.0))
    with pytest.raises(ValueError, match="ratio="):
        occlusion.random_erasing(ratio=(2.0, 1.0))
    with pytest.raises(ValueError, match="probability=-1"):
        occlusion.random_erasing(-1)
    with pytest.raises(ValueError, match="std=-1"):
        occlusion.gaussian_noise(-1)


@pytest.mark.slow
@pytest.mark.covers("RG-12")
def test_cutout_hides_exactly_one_square():
    image = jax.random.uniform(jax.random.key(5), (9, 12, 3), minval=0.1)
    out = np.asarray(jax.jit(jax.vmap(occlusion.cutout(4), (0, None)))(keys(60), image))
    corners = set()
    for one in out:
        hidden = (one == 0).all(-1)
        rows, columns = np.nonzero(hidden)
        assert hidden.sum() == 16
        assert (np.ptp(rows), np.ptp(columns)) == (3, 3)
        np.testing.assert_array_equal(one[~hidden], np.asarray(image)[~hidden])
        corners.add((rows.min(), columns.min()))
    assert len(corners) > 25  # of 6 x 9
    cut = np.asarray(jax.vmap(occlusion.cutout(4, partly_outside=True), (0, None))(keys(60), image))
    areas = (cut == 0).all(-1).sum((1, 2))
    assert areas.max() == 16
    assert areas.min() < 16
    np.testing.assert_array_equal(occlusion.cutout(9, value=0.5)(keys(1)[0], image[:, :9]), 0.5)


def test_erasing_by_hand_and_bad_sizes():
    image = jnp.ones((4, 5, 2))
    out = occlusion.erase(image, 1, 2, 2, 9, jnp.array([0.0, 0.5]))
    np.testing.assert_array_equal(out[1:3, 2:], np.broadcast_to([0.0, 0.5], (2, 3, 2)))
    assert float(out.sum()) == 4 * 5 * 2 - 6 - 3
    with pytest.raises(ValueError, match="size=0"):
        occlusion.cutout(0)
    with pytest.raises(ValueError, match="size=6: out of range; allowed: at most 4"):
        occlusion.cutout(6)(keys(1)[0], image)


@pytest.mark.covers("RG-18")
@pytest.mark.parametrize("std", [0.05, 0.3])
def test_the_noise_has_its_standard_deviation(std):
    noise = occlusion.gaussian_noise(std)(keys(1)[0], jnp.zeros((60, 60, 3)))
    assert float(noise.std()) == pytest.approx(std, rel=0.03)  # 10,800 draws: 1 / sqrt(2 * 10800) = .7 %
    assert abs(float(noise.mean())) < 0.04 * std


@pytest.fixture
def quarter(monkeypatch):
    """Uniform numbers lie at a quarter of their range."""

    def uniform(key, shape=(), minval=0.0, maxval=1.0):
        return jnp.broadcast_to(minval + 0.25 * (maxval - minval), shape)

    monkeypatch.setattr(occlusion.jax.random, "uniform", uniform)


def test_a_box_by_hand(quarter):
    """Of 8 x 16 pixels an area of 0.2 + 0.25 * 0.2 = 0.25 is 32; an aspect of 1 * 16^0.25 = 2: 4 x 8 pixels."""
    box = occlusion._box(jax.random.key(0), (8, 16, 3), (0.2, 0.4), (1.0, 16.0))
    np.testing.assert_allclose(box, [0.25 * 4, 0.25 * 8, 4, 8], rtol=1e-5)
    # An aspect of 128^0.25 * 8^0.75 = 16: 64 pixels of 2 x 32, of which 16 columns fit.
    box = occlusion._box(jax.random.key(0), (8, 16, 3), (0.5, 0.5), (16.0, 16.0))
    np.testing.assert_allclose(box, [0.25 * 6, 0, 2, 16], rtol=1e-5)


def test_a_crop_and_an_erased_box_by_hand(quarter, monkeypatch):
    ramp = 100.0 * jnp.arange(8.0)[:, None, None] + jnp.arange(16.0)[None, :, None]
    calls = []
    monkeypatch.setattr(occlusion.jax.image, "scale_and_translate", lambda *rest: calls.append(rest))
    for side in (None, 4):
        occlusion.random_resized_crop((0.25, 0.25), (2, 2), side=side)(jax.random.key(0), ramp)
    # 4 x 8 pixels from (1, 2), twice as large, or scaled to 4 x 4.
    for (_, shape, axes, scale, move, method, antialias), expected in zip(
        calls, (((8, 16, 1), (2, 2), (-2, -4)), ((4, 4, 1), (1, 0.5), (-1, -1))), strict=True
    ):
        assert (shape, axes, method, antialias) == (expected[0], (0, 1), "linear", False)
        np.testing.assert_allclose((scale, move), expected[1:], rtol=1e-5)
    for happens in (True, False):
        monkeypatch.setattr(occlusion.jax.random, "bernoulli", lambda key, p, happens=happens: jnp.array(happens))
        erased = occlusion.random_erasing(0.5, (0.25, 0.25), (2, 2))(jax.random.key(0), ramp + 1)[..., 0]
        expected = np.zeros((8, 16), bool)
        expected[1:5, 2:10] = happens
        np.testing.assert_array_equal(erased == 0, expected)


def test_a_square_stays_inside_unless_it_may_leave(monkeypatch):
    ranges = []

    def randint(key, shape, low, high):
        ranges.append((low, np.asarray(high).tolist()))
        return jnp.array([0, 2])

    monkeypatch.setattr(occlusion.jax.random, "randint", randint)
    image = jnp.ones((6, 9, 2))
    inside = occlusion.cutout(4, value=0.5)(jax.random.key(0), image)
    expected = np.ones((6, 9))
    expected[0:4, 2:6] = 0.5
    np.testing.assert_array_equal(inside[..., 1], expected)
    cut = occlusion.cutout(4, partly_outside=True)(jax.random.key(0), image)
    expected = np.ones((6, 9))
    expected[0:2, 0:4] = 0
    np.testing.assert_array_equal(cut[..., 0], expected)
    assert ranges == [(0, [3, 6]), (0, [6, 9])]


def test_noise_of_halves_is_the_one_of_float32():
    image = jnp.full((8, 8, 3), 0.5)
    expected = occlusion.gaussian_noise(0.1)(jax.random.key(0), image)
    found = occlusion.gaussian_noise(0.1)(jax.random.key(0), image.astype(jnp.bfloat16))
    np.testing.assert_array_equal(found, expected.astype(jnp.bfloat16))
