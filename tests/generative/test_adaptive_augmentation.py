"""The augmentation by what it does to single pixels, and its probability by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.generative.adaptive_augmentation import augment_images, update_probability

COUNT = 400
augment = jax.jit(augment_images)


def augmented(image: np.ndarray, probability: float) -> np.ndarray:
    """COUNT augmented versions of one image [S, S]."""
    keys = jax.vmap(jax.random.key)(jnp.arange(COUNT))
    images = np.broadcast_to(image[None, :, :, None], (COUNT, *image.shape, 1)).astype(np.float32)
    return np.asarray(augment(keys, images, probability))[..., 0]


@pytest.mark.covers("GE-44")
@pytest.mark.parametrize(("probability", "fraction"), [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)])
def test_the_center_shows_shift_brightness_and_contrast(probability, fraction):
    """Turns and mirrors leave the center of 9 x 9 pixels; a shift moves it by at most round(9 / 8) = 1 pixel.

    The background is o c and the center (1 + o) c: their difference is the factor c, their ratio gives the offset o.
    Standard errors over 400 images: 0.025 of a fraction of 0.5, and deviations to 5 % with all of them.
    """
    image = np.zeros((9, 9))
    image[4, 4] = 1
    images = augmented(image, probability)
    background = np.median(images, (1, 2))
    points = [np.argwhere(np.abs(one - low) > 1e-3) - 4 for one, low in zip(images, background, strict=True)]
    assert {len(point) for point in points} == {1}
    shifts = {tuple(point[0].tolist()) for point in points}
    inner = {(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)}
    assert shifts == (inner if probability else {(0, 0)})
    factors = images.sum((1, 2)) - 81 * background
    offsets = background / factors
    assert (np.abs(offsets) > 1e-5).mean() == pytest.approx(fraction, abs=0.08)
    assert (np.abs(factors - 1) > 1e-4).mean() == pytest.approx(fraction, abs=0.08)
    if probability == 1:
        assert offsets.std() == pytest.approx(0.2, rel=0.15)
        assert np.log(factors).std() == pytest.approx(0.5 * np.log(2), rel=0.15)


def test_turns_and_mirrors_are_the_eight_symmetries():
    """3 x 3 pixels are not shifted, since round(3 / 8) = 0; without mirror or turn there is the image itself alone."""
    image = np.arange(9.0).reshape(3, 3) / 9
    symmetries = [np.rot90(flipped, k) for flipped in (image, image[:, ::-1]) for k in range(4)]
    ranks = [tuple(one.ravel().argsort().tolist()) for one in symmetries]
    found = [tuple(one.ravel().argsort().tolist()) for one in augmented(image, 1.0)]
    assert set(found) == set(ranks)
    # 1/2 for the mirror times 1/4 for the turn; 0.017 is the standard error over 400 images.
    assert np.mean([rank == ranks[0] for rank in found]) == pytest.approx(1 / 8, abs=0.06)


@pytest.mark.covers("GE-44")
def test_a_shifted_image_is_continued_by_its_reflection():
    """Of 9 pixels, by up to one: each image has the order of a symmetry that numpy pads and cuts."""
    image, orders = np.random.default_rng(0).random((9, 9)), set()
    for flipped in (image, image[:, ::-1]):
        for k in range(4):
            padded = np.pad(np.rot90(flipped, k), 1, mode="reflect")
            shifted = [padded[i : i + 9, j : j + 9] for i in range(3) for j in range(3)]
            orders |= {tuple(np.unique(one, return_inverse=True)[1].ravel().tolist()) for one in shifted}
    found = [tuple(np.unique(one, return_inverse=True)[1].ravel().tolist()) for one in augmented(image, 1.0)]
    assert set(found) <= orders
    assert len(set(found)) > 60  # of 72


@pytest.mark.covers("GE-44")
def test_the_probability_follows_the_sign_of_real_logits():
    """64 images of 640 move it by 0.1: up where r is above the target, down below it, within [0, 1]."""

    def moved(p, r):
        return float(update_probability(jnp.float32(p), jnp.float32(r), 64, 0.6, 640))

    assert moved(0.5, 0.8) == pytest.approx(0.6)
    assert moved(0.5, 0.3) == pytest.approx(0.4)
    assert moved(0.5, 0.6) == pytest.approx(0.5)
    assert moved(0.95, 1.0) == 1
    assert moved(0.05, -1.0) == 0


def test_bad_input_is_named():
    keys = jax.random.split(jax.random.key(0), 2)
    with pytest.raises(ValueError, match=r"a quarter turn needs squares; allowed: \[B, H, W, C\] with H = W"):
        augment_images(keys, jnp.zeros((2, 4, 6, 1)), 0.5)
