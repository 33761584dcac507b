"""Bags of visual words: by hand, in parts, and a linear classifier on digits."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.classic_ml.kmeans import kmeans
from dlcore.classical_vision.bag_of_words import encode, normalize_patches, random_patches
from dlcore.classical_vision.feature_classifier import fit_classifier
from dlcore.data.digits import digits


@pytest.mark.covers("FE-03")
def test_two_words_by_hand():
    # 2 x 2 patches of a 2 x 4 image: columns (0 1), (1 1), (1 0); words: dark to bright, bright to dark, flat
    image = np.array([[0.0, 1, 1, 0], [0, 1, 1, 0]], np.float32)[None, :, :, None]
    tall = np.concatenate([image, np.ones_like(image)], 1)  # rows of patches: bars, mixed, flat

    @jax.jit
    def run():
        words = normalize_patches(jnp.array([[0.0, 1, 0, 1], [1, 0, 1, 0], [1, 1, 1, 1]]))
        return encode(image, words, 2), encode(tall, words, 2, stride=2), encode(tall, words, 2, stride=2, grid=2)

    whole, strided, parts = map(np.asarray, run())
    np.testing.assert_allclose(whole, [[1 / 3, 1 / 3, 1 / 3]])
    # in 2 x 2 parts of one row of three patches there are no rows to share: grid 1 at most
    np.testing.assert_allclose(strided, [[1 / 4, 1 / 4, 2 / 4]])  # places (0, 0), (0, 2) | (2, 0), (2, 2)
    np.testing.assert_allclose(parts.reshape(4, 3), np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]]) / 4)


@pytest.mark.weekly
@pytest.mark.covers("FE-03")
def test_codebook_and_encoding_and_a_linear_classifier_on_it():
    train, test = digits("train").arrays, digits("test").arrays
    patches = random_patches(jax.random.key(0), train["image"], 2000, 3)
    chex.assert_shape(patches, (2000, 9))
    codebook = kmeans(jax.random.key(1), patches, 30, restarts=1, max_iterations=20).centers
    chex.assert_shape(codebook, (30, 9))
    features = [np.asarray(encode(split["image"], codebook, 3)) for split in (train, test)]
    chex.assert_shape(features[0], (1297, 30))
    for x in features:
        np.testing.assert_allclose(np.abs(x).sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(encode(test["image"], codebook, 3, grid=2).sum(1), 1, rtol=1e-5)
    found = fit_classifier(features[0], train["label"], 10, l2=1e-2, steps=60)
    assert (found.predict(features[1]) == test["label"]).mean() > 0.6  # chance is .1; no place is known
    # a bag: the image turned upside down by halves has other borders but mostly the same words; its parts know places
    same = encode(test["image"], codebook, 3)
    whole, parts = (np.asarray(encode(jnp.roll(test["image"], 4, 1), codebook, 3, grid=g)) for g in (1, 2))
    moved = np.abs(np.asarray(encode(test["image"], codebook, 3, grid=2)) - parts).sum(1).mean()
    assert np.abs(same - whole).sum(1).mean() < 0.7 * moved


@pytest.mark.covers("FE-03")
def test_patches_come_from_every_place_of_every_image_and_are_normalized():
    """One of 2 x 3 x 4 places is missed by 400 draws with the chance 24 (23 / 24)^400 = 1e-6."""
    images = np.random.default_rng(0).random((2, 4, 5, 2)).astype(np.float32)
    windows = (
        np.lib.stride_tricks.sliding_window_view(images, (2, 2), (1, 2)).transpose(0, 1, 2, 4, 5, 3).reshape(24, 8)
    )
    windows = (windows - windows.mean(1, keepdims=True)) / np.sqrt(windows.var(1, keepdims=True) + 0.01**2)
    patches = np.asarray(random_patches(jax.random.key(0), images, 400, 2))
    distance = np.abs(patches[:, None] - windows).max(-1)
    np.testing.assert_allclose(distance.min(1), 0, atol=1e-5)
    assert len(np.unique(distance.argmin(1))) == 24


def test_bad_arguments():
    images = np.zeros((2, 8, 8, 1), np.float32)
    with pytest.raises(ValueError, match="size=9: does not fit"):
        random_patches(jax.random.key(0), images, 5, 9)
    assert jax.eval_shape(lambda x: random_patches(jax.random.key(0), x, 1, 1), images).shape == (1, 1)
    with pytest.raises(ValueError, match="size=0: does not fit"):
        random_patches(jax.random.key(0), images, 5, 0)
    for shape in ((4, 8), (4, 9, 1), (9,)):
        with pytest.raises(ValueError, match=r"codebook.shape=.*: does not fit size=3 .*; allowed: \[K, 9\]"):
            encode(images, np.zeros(shape), 3)
    with pytest.raises(ValueError, match=r"grid=7: out of range; allowed: 1..6"):
        encode(images, np.zeros((4, 9)), 3, grid=7)
    for image in (images[:, :6], images[:, :, :6]):
        with pytest.raises(ValueError, match=r"size=7: does not fit .*; allowed: 1 to 6"):
            random_patches(jax.random.key(0), image, 5, 7)
        with pytest.raises(ValueError, match=r"grid=5: out of range; allowed: 1..4"):
            encode(image, np.zeros((4, 9)), 3, grid=5)
    for wrong in (images.astype(np.uint8), images[..., 0], images[..., None]):
        with pytest.raises(ValueError, match=r"images=.*: wrong dtype or shape; allowed: floating \[N, H, W, C\]"):
            encode(wrong, np.zeros((4, 9)), 3)


def test_contrast_is_normalized_and_flat_patches_stay_at_zero():
    """(1, 3) has the mean 2 and the deviation 1, which epsilon, here 1, makes sqrt 2."""
    np.testing.assert_allclose(normalize_patches(jnp.array([1.0, 3]), 1.0), [-(0.5**0.5), 0.5**0.5], rtol=1e-6)
    np.testing.assert_allclose(normalize_patches(jnp.array([0.5, 0.5])), [0, 0], atol=1e-6)


@pytest.mark.covers("FE-03")
def test_wide_images_of_two_channels_are_encoded_as_by_loops():
    """Patches of 2 x 2 at each place of 4 x 7 pixels: 3 x 6 of them, in 2 x 2 parts."""
    rng = np.random.default_rng(0)
    images, words = rng.random((3, 4, 7, 2)).astype(np.float32), rng.normal(size=(5, 8)).astype(np.float32)
    expected = np.zeros((3, 2, 2, 5))
    for n, r, c in np.ndindex(3, 3, 6):
        patch = images[n, r : r + 2, c : c + 2].ravel()
        patch = (patch - patch.mean()) / np.sqrt(patch.var() + 0.01**2)
        expected[n, r * 2 // 3, c * 2 // 6, np.square(patch - words).sum(1).argmin()] += 1 / 18
    np.testing.assert_allclose(encode(images, words, 2, grid=2, batch_size=2), expected.reshape(3, 20), rtol=1e-5)
