"""Crops by their pixels, and their average by hand."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.data import augment
from tests.data.draws import quarter

IMAGE = jnp.arange(7 * 9 * 2, dtype=jnp.float32).reshape(7, 9, 2)


@pytest.mark.covers("RG-14")
def test_ten_crops_are_corners_center_and_their_mirrors():
    crops = augment.ten_crop(IMAGE, (3, 5))
    chex.assert_shape(crops, (10, 3, 5, 2))
    want = [IMAGE[:3, :5], IMAGE[:3, 4:], IMAGE[4:, :5], IMAGE[4:, 4:], IMAGE[2:5, 2:7]]
    np.testing.assert_array_equal(crops[:5], want)
    mirrored = IMAGE[:, ::-1]
    np.testing.assert_array_equal(crops[5], mirrored[:3, :5])
    np.testing.assert_array_equal(crops[6], crops[0][:, ::-1] * 0 + mirrored[:3, 4:])
    np.testing.assert_array_equal(crops[9], crops[4][:, ::-1])
    assert len(np.unique(np.asarray(crops).reshape(10, -1), axis=0)) == 10
    np.testing.assert_array_equal(augment.ten_crop(IMAGE, 3, vertical=True)[5], IMAGE[::-1][:3, :3])


@pytest.mark.covers("RG-14")
def test_the_average_is_the_mean_of_the_scores_of_each_image():
    images = jnp.stack([IMAGE, 2 * IMAGE, IMAGE + 5])
    seen = []

    def predict(x):
        seen.append(x.shape)
        return {"logits": jnp.stack([x.mean((1, 2, 3)), x.max((1, 2, 3))], -1)}

    out = augment.average_over_crops(predict, lambda image: augment.ten_crop(image, 3))(images)["logits"]
    assert seen == [(30, 3, 3, 2)]
    for image, got in zip(images, out, strict=True):
        crops = np.asarray(augment.ten_crop(image, 3))
        np.testing.assert_allclose(got, [crops.mean((1, 2, 3)).mean(), crops.max((1, 2, 3)).mean()], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.covers("RG-14")
def test_random_scale_and_crop_reads_a_scaled_window():
    ramp = jnp.broadcast_to(jnp.arange(20.0)[None, :, None], (20, 20, 1))
    crop = augment.random_scale_crop((8, 8), (40, 40))
    out = np.asarray(jax.jit(jax.vmap(crop, (0, None)))(jax.random.split(jax.random.key(0), 60), ramp))
    chex.assert_shape(out, (60, 8, 8, 1))
    inner = out[(out.min((1, 2, 3)) > 0) & (out.max((1, 2, 3)) < 19)]
    np.testing.assert_allclose(
        np.diff(inner[:, 4, :, 0], axis=1), 0.5, atol=1e-4
    )  # twice as large: half a level a pixel
    assert np.ptp(out[:, 0, 0, 0]) > 8
    varied = augment.random_scale_crop((8, 8), (10, 40))
    out = np.asarray(jax.jit(jax.vmap(varied, (0, None)))(jax.random.split(jax.random.key(0), 60), ramp))
    steps = out[:, 4, 4, 0] - out[:, 4, 3, 0]  # 20 / side: from .5 to 2
    assert steps.min() < 0.6
    assert steps.max() > 1.5


def test_resizing_keeps_the_aspect_and_levels_stay_levels():
    chex.assert_shape(augment.scale_shorter_side(IMAGE, 14), (14, 18, 2))
    levels = augment.resized_crop(IMAGE.astype(jnp.uint8), 0, 0, 4, 4, 8)
    assert (levels.dtype, levels.shape) == (jnp.uint8, (8, 8, 2))
    np.testing.assert_array_equal(augment.resized_crop(IMAGE, 1, 2, 3, 4, (3, 4)), IMAGE[1:4, 2:6])
    np.testing.assert_array_equal(augment.center_crop(IMAGE, (7, 9)), IMAGE)


def test_a_smaller_image_is_smoothed_before_it_is_sampled():
    """Halved: a triangle of two pixels either side of 1/2 and of 5/2. Its weights are 3, 3 and 1 of 7.

    Levels are rounded to the nearest: (3 7 + 13) / 7 = 4.9 and (7 + 3 13 + 3 28) / 7 = 18.6.
    """
    row = np.array([0.0, 7, 14, 28], np.float32)
    image = np.broadcast_to(row[None, :, None], (4, 4, 1))
    half = augment.scale_shorter_side(image, 2)
    np.testing.assert_allclose(half[..., 0], [[(3 * 7 + 14) / 7, (7 + 3 * 14 + 3 * 28) / 7]] * 2, rtol=1e-6)
    levels = np.broadcast_to(np.array([0, 7, 13, 28], np.uint8)[None, :, None], (4, 4, 1))
    np.testing.assert_array_equal(augment.scale_shorter_side(levels, 2)[..., 0], [[5, 19]] * 2)


def test_the_shorter_side_has_at_least_a_pixel():
    chex.assert_shape(augment.scale_shorter_side(IMAGE[:, :1], 1), (7, 1, 2))
    chex.assert_shape(augment.scale_shorter_side(IMAGE[:1], 1), (1, 9, 2))
    chex.assert_shape(augment.center_crop(IMAGE, 1), (1, 1, 2))
    np.testing.assert_array_equal(augment.resized_crop(IMAGE, 6, 8, 1, 1, 1), IMAGE[6:, 8:])


def test_a_random_window_by_hand(monkeypatch):
    """Numbers at a quarter: a shorter side of 8 + 4 / 4 = 9, from 6: 1.5 times, so that 9 x 15 pixels are there.

    Beyond 5 x 8 of these, 4 rows and 7 columns are free: the corner lies at 5 / 4 and 8 / 4, rounded down: (1, 2). The
    image is 10 row + column. The center of the pixel i of the scaled image is at (i + 1/2) / 1.5 - 1/2 of the image.
    """

    monkeypatch.setattr(jax.random, "uniform", quarter)
    augment.random_scale_crop((5, 10), (10, 10))  # the range may be one number, as long as the window
    image = (10.0 * np.arange(6)[:, None] + np.arange(10)).astype(np.float32)[..., None]
    window = jax.jit(augment.random_scale_crop((5, 8), (8, 12)))(jax.random.key(0), image)[..., 0]
    row, column = ((np.arange(count) + first + 0.5) / 1.5 - 0.5 for count, first in ((5, 1), (8, 2)))
    np.testing.assert_allclose(window, 10 * row[:, None] + column, rtol=1e-5, atol=1e-4)


def test_bad_sizes():
    with pytest.raises(ValueError, match=r"size=8: out of range; allowed: in \[1, 7\] by \[1, 9\]"):
        augment.center_crop(IMAGE, 8)
    for top, left, height, width in ((5, 0, 3, 3), (0, 7, 3, 3)):
        box = f"top={top}, left={left}, height={height}, width={width}"
        with pytest.raises(ValueError, match=f"{box}: not inside the image; allowed"):
            augment.resized_crop(IMAGE, top, left, height, width, 2)


@pytest.mark.slow
def test_the_levels_of_a_scaled_crop_are_rounded_to_the_nearest():
    """Rounded down, they would be darker by half a level in the mean."""
    image = np.random.default_rng(0).integers(0, 256, (16, 20, 3), np.uint8)
    crop, key = augment.random_scale_crop(8, (9, 14)), jax.random.key(3)
    levels, exact = crop(key, jnp.asarray(image)), crop(key, jnp.asarray(image, jnp.float32))
    assert levels.dtype == jnp.uint8
    assert exact.dtype == jnp.float32
    np.testing.assert_array_equal(levels, np.clip(np.round(exact), 0, 255))
