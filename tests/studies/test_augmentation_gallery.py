"""The gallery draws every tile, and the photograph as it is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import augmentation_gallery


@pytest.mark.slow
def test_a_group_of_tiles():
    result = augmentation_gallery.experiment.function(height=24, group="tone")
    assert result.holds
    assert len(result.numbers) == 9
    assert all(np.isfinite(value) and value > 0 for value in result.numbers.values())
    assert "9 of 9" in result.verdict or "8 of 9" in result.verdict
    assert [axes.get_title() for axes in result.figures["gallery"].axes][:2] == list(result.numbers)[:2]


def test_bad_height():
    with pytest.raises(ValueError, match="height=3: too small"):
        augmentation_gallery.study(height=3)


def drawn_tiles(*names, x):
    """{title: picture} of 8 x 8 pixels, whose partner is white."""
    groups = augmentation_gallery.tiles((8, 8), jnp.ones((8, 8, 3)), BOX)
    functions = {name: function for group in groups.values() for name, function in group.items()}
    return jax.device_get(jax.jit(lambda x: {name: functions[name](jax.random.key(0), x) for name in names})(x))


BOX = np.float32([1, 2, 5, 7])
PIXELS = np.random.default_rng(0).uniform(0.05, 0.95, (8, 8, 3)).astype(np.float32)


def test_each_tile_does_what_its_title_says():
    x = PIXELS
    drawn = drawn_tiles("the photograph", "gamma 2", "posterize to 2 bits", "solarize at 1/2", "invert", "gray",
                        "upside down", "autocontrast of a pale copy", x=x)  # fmt: skip
    photograph, box = drawn["the photograph"]
    np.testing.assert_array_equal(photograph, x)
    np.testing.assert_array_equal(box, BOX)
    np.testing.assert_array_equal(drawn["upside down"], x[::-1])
    np.testing.assert_allclose(drawn["gamma 2"], x**2, rtol=1e-5)
    np.testing.assert_allclose(drawn["invert"], 1 - x, rtol=1e-5)
    np.testing.assert_allclose(drawn["solarize at 1/2"], np.where(x < 0.5, x, 1 - x), rtol=1e-5)
    np.testing.assert_allclose(drawn["gray"], drawn["gray"][..., :1].repeat(3, -1))
    low, high = x.min((0, 1)), x.max((0, 1))  # whatever was pale before
    np.testing.assert_allclose(drawn["autocontrast of a pale copy"], (x - low) / (high - low), atol=1e-4)
    assert len(np.unique(drawn["posterize to 2 bits"])) == 4


@pytest.mark.weekly
def test_each_tile_that_draws_does_what_its_title_says():
    """Mixed tiles have a black photograph and a white partner."""
    drawn = drawn_tiles("mirror", "cutout", "brightness, contrast, saturation, hue", "noise", x=PIXELS)
    mirror, moved = drawn["mirror"]
    np.testing.assert_allclose(mirror, PIXELS[:, ::-1], atol=1e-5)
    np.testing.assert_allclose(moved, [3, 2, 7, 7], atol=1e-5)
    changed = (drawn["cutout"] != PIXELS).any(-1)
    assert 4 <= changed.sum() <= 16  # a square of half the side, less what lies outside
    assert len(np.unique(drawn["cutout"][changed], axis=0)) == 1
    for name in ("brightness, contrast, saturation, hue", "noise"):
        assert np.abs(drawn[name] - PIXELS).mean() > 1e-3
    mixed = drawn_tiles("mixup", "CutMix", x=np.zeros((8, 8, 3), np.float32))
    assert np.ptp(mixed["mixup"]) == pytest.approx(0, abs=1e-6)
    assert 0 < mixed["mixup"].mean() < 1
    assert set(np.unique(mixed["CutMix"])) == {0, 1}
