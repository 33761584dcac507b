"""Adjustments against torchvision's, and random ones by their bounds."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.data.augment import jitter, tone
from tests.data.draws import quarter

GOLDEN = np.load(Path(__file__).parents[1] / "goldens" / "tvops_transforms.npz")
IMAGE = jnp.asarray(GOLDEN["data/x"].transpose(1, 2, 0), jnp.float32)


@pytest.mark.covers("RG-16")
@pytest.mark.parametrize(
    ("case", "function"),
    [
        ("adjust_brightness", lambda x: jitter.adjust_brightness(x, 1.4)),
        ("adjust_contrast", lambda x: jitter.adjust_contrast(x, 0.6)),
        ("adjust_saturation", lambda x: jitter.adjust_saturation(x, 1.7)),
        ("adjust_hue", lambda x: jitter.adjust_hue(x, 0.2)),
        ("rgb_to_grayscale", jitter.gray),
        ("gaussian_blur", lambda x: jitter.gaussian_blur(x, (1.1, 0.8), (2, 1))),
    ],
)
def test_equals_torchvision(case, function):
    np.testing.assert_allclose(jax.jit(function)(IMAGE).transpose(2, 0, 1), GOLDEN[f"{case}/out"], atol=3e-6)


@pytest.mark.slow
def test_factor_one_and_shift_zero_leave_the_image():
    for adjust, neutral in (
        (jitter.adjust_brightness, 1.0),
        (jitter.adjust_contrast, 1.0),
        (jitter.adjust_saturation, 1.0),
        (jitter.adjust_hue, 0.0),
        (jitter.adjust_hue, 1.0),
    ):
        np.testing.assert_allclose(adjust(IMAGE, neutral), IMAGE, atol=1e-5)
    key = jax.random.key(0)
    np.testing.assert_array_equal(jitter.color_jitter()(key, IMAGE), IMAGE)


@pytest.fixture
def adjustments(monkeypatch):
    """Uniform numbers lie at a quarter of their range, and each adjustment is listed with its number."""
    calls = []

    monkeypatch.setattr(jax.random, "uniform", quarter)
    for name in ("brightness", "contrast", "saturation", "hue"):

        def adjust(image, number, name=name):
            calls.append((name, round(float(number), 4)))
            return image

        monkeypatch.setattr(jitter, f"adjust_{name}", adjust)
    return calls


@pytest.mark.covers("RG-16")
def test_random_numbers_by_hand(adjustments):
    """Factors of 1 - x + x / 2, with 1 - x of at least 0, and a hue of -h / 2, in this order; 0 leaves a step out."""
    image = np.zeros((1, 1, 3), np.float32)
    jitter.color_jitter(0.4, 0.2, 2.0, 0.1)(jax.random.key(0), image)
    assert adjustments == [("brightness", 0.8), ("contrast", 0.9), ("saturation", 0.75), ("hue", -0.05)]
    for only in ("brightness", "contrast", "saturation", "hue"):
        adjustments.clear()
        jitter.color_jitter(**{only: 0.4})(jax.random.key(0), image)
        assert adjustments == [(only, -0.2 if only == "hue" else 0.8)]


def test_a_random_blur_by_hand(monkeypatch):
    """A deviation of 1 + 2 / 4 and a radius of 4, along both axes, with the given probability."""
    monkeypatch.setattr(jax.random, "uniform", quarter)
    monkeypatch.setattr(jitter, "gaussian_blur", lambda image, *rest: image + jnp.array([*rest[0], *rest[1]]))
    for happens in (True, False):
        monkeypatch.setattr(jax.random, "bernoulli", lambda key, p, h=happens: jnp.array(h & (p == 0.3)))
        out = jitter.random_blur((1.0, 3.0), 0.3, 4)(jax.random.key(0), np.zeros((1, 1, 4)))
        np.testing.assert_allclose(out[0, 0], [1.5, 1.5, 4, 4] if happens else [0] * 4)


@pytest.mark.slow
@pytest.mark.covers("RG-16")
def test_random_factors_keep_to_their_range():
    keys = jax.random.split(jax.random.key(0), 200)
    image = jnp.full((2, 2, 1), 0.5)
    seen = jax.vmap(lambda k: jitter.color_jitter(brightness=0.4)(k, image))(keys)[:, 0, 0, 0]
    assert 0.3 - 1e-6 <= seen.min() < 0.33
    assert 0.67 < seen.max() <= 0.7 + 1e-6


def test_one_channel_has_no_color():
    image = IMAGE[..., :1]
    keys = jax.random.split(jax.random.key(0), 3)
    for key in keys:
        np.testing.assert_array_equal(jitter.color_jitter(saturation=0.9, hue=0.4)(key, image), image)
        np.testing.assert_array_equal(jitter.random_gray(1.0)(key, image), image)


def test_gray_makes_channels_equal_with_its_probability():
    keys = jax.random.split(jax.random.key(0), 400)
    out = np.asarray(jax.vmap(lambda k: jitter.random_gray(0.25)(k, IMAGE))(keys))
    equal = np.ptp(out, axis=-1).max((1, 2)) < 1e-6
    assert 0.18 < equal.mean() < 0.32
    np.testing.assert_array_equal(out[~equal][0], IMAGE)


@pytest.mark.slow
def test_blur_keeps_the_mean_of_a_flat_image():
    flat = jnp.full((6, 6, 1), 0.3)
    np.testing.assert_allclose(jitter.random_blur(probability=1.0)(jax.random.key(0), flat), flat, rtol=1e-6)


def test_numbers_out_of_range_are_named():
    with pytest.raises(ValueError, match=r"hue=0.6: out of range; allowed: in \[0, 0.5\]"):
        jitter.color_jitter(hue=0.6)
    jitter.color_jitter(brightness=0.6, hue=0.5)


def test_a_blur_of_radius_0_is_none(monkeypatch):
    monkeypatch.setattr(jax.random, "bernoulli", lambda key, p: jnp.array(True))
    image = np.arange(6, dtype=np.float32).reshape(2, 3, 1)
    np.testing.assert_array_equal(jitter.random_blur(radius=0)(jax.random.key(0), image), image)
    np.testing.assert_array_equal(jitter.gaussian_blur(image, (1.0, 2.0), (0, 0)), image)


@pytest.mark.covers("RG-16", "RG-27")
@pytest.mark.parametrize("factor", [0.0, 0.3, 1.9, 3.5])
@pytest.mark.parametrize("kind", ["color", "gray"])
def test_levels_differ_from_torchvisions_by_at_most_one(factor, kind):
    """torchvision's v2 functions step by step: gray cut off, the smoothed image rounded, the result cut off."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (16, 12, 3), np.uint8)
    image = image if kind == "color" else np.repeat(image[..., :1], 3, -1)
    x = image.astype(np.float32)
    gray = np.floor(x[..., :1] * np.float32(0.2989) + x[..., 1:2] * np.float32(0.587) + x[..., 2:] * np.float32(0.114))
    smooth = x.copy()
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (0, 1))
    smooth[1:-1, 1:-1] = np.round((windows.sum((-1, -2)) + 4 * x[1:-1, 1:-1]) / 13)
    others = {
        jitter.adjust_brightness: 0,
        jitter.adjust_contrast: gray.mean(),
        jitter.adjust_saturation: gray,
        tone.adjust_sharpness: smooth,
    }
    for adjust, other in others.items():
        want = np.clip(factor * x + (1 - factor) * other, 0, 255).astype(np.uint8).astype(int)
        off = np.abs(np.asarray(jax.jit(adjust)(image, factor), int) - want)
        assert off.max() <= 1, adjust.__name__
        assert (off > 0).mean() < 0.02, adjust.__name__  # 1.9 x - .9 y is whole for a tenth of all x and y
        if adjust in (jitter.adjust_brightness, tone.adjust_sharpness):  # of whole numbers: exact with any compiler
            assert off.max() == 0, adjust.__name__
    np.testing.assert_array_equal(jitter.gray(image), gray.astype(np.uint8))
