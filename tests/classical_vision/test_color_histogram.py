"""Color histograms: by hand, under permutation, and hue as in scikit-image."""

from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.classical_vision.color_histogram import color_histogram, rgb_to_hsv, rgb_to_lab

GOLDENS = np.load(Path(__file__).parents[1] / "goldens" / "classical_vision.npz")


@pytest.mark.covers("FE-01")
def test_four_pixels_by_hand():
    # two bins a channel, joint: red below .5 or not, then green, then blue: 4 r + 2 g + b
    image = jnp.array([[[0.9, 0.1, 0.1], [0.6, 0.2, 0.9]], [[0.1, 0.1, 0.1], [0.5, 0.5, 0.5]]])[None]
    counts = color_histogram(image, 2, normalize=False)
    np.testing.assert_array_equal(counts, [[1, 0, 0, 0, 1, 1, 0, 1]])
    np.testing.assert_allclose(color_histogram(image, 2), counts / 4)
    each = color_histogram(image, 2, joint=False, normalize=False)
    np.testing.assert_array_equal(each, [[1, 3, 3, 1, 2, 2]])


@pytest.mark.slow(unless=["True-hsv"])
@pytest.mark.covers("FE-01")
@pytest.mark.parametrize("space", ["given", "hsv"])
@pytest.mark.parametrize("joint", [True, False])
def test_sums_and_permutations(space, joint):
    rng = np.random.default_rng(0)
    images = rng.uniform(size=(3, 5, 4, 3)).astype(np.float32)
    counts = np.asarray(color_histogram(images, 4, space=space, joint=joint, normalize=False))
    chex.assert_shape(counts, (3, 64 if joint else 12))
    np.testing.assert_array_equal(counts.sum(1), 20 if joint else 60)  # H W, for every channel
    np.testing.assert_allclose(
        color_histogram(images, 4, space=space, joint=joint).sum(1), 1 if joint else 3, rtol=1e-6
    )
    mixed = rng.permutation(images.reshape(3, 20, 3), axis=1).reshape(images.shape)
    np.testing.assert_array_equal(color_histogram(mixed, 4, space=space, joint=joint, normalize=False), counts)
    other = 1 - images
    assert (np.asarray(color_histogram(other, 4, space=space, joint=joint, normalize=False)) != counts).any()


@pytest.mark.slow(unless=["3"])
@pytest.mark.covers("FE-01")
@pytest.mark.parametrize("bins", [1, 3, 8, 256])
def test_bytes_and_floats_share_their_bins(bins):
    image = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    counts = color_histogram(image, bins, normalize=False)
    assert float(counts.sum()) == 256
    np.testing.assert_array_equal(counts, color_histogram(image / np.float32(256), bins, normalize=False))


@pytest.mark.covers("FE-01")
def test_hue_is_scikit_images():
    """The case `rgb2lab` of classical_vision, its hsv."""
    with jax.enable_x64(True):
        got = rgb_to_hsv(jnp.asarray(GOLDENS["rgb2lab/in.rgb"]))
    np.testing.assert_allclose(got, GOLDENS["rgb2lab/out.hsv"], atol=1e-10)
    np.testing.assert_allclose(
        rgb_to_hsv(jnp.array([[0.5, 0.5, 0.5], [0, 0, 0], [0, 1, 0]])),
        [[0, 0, 0.5], [0, 0, 0], [1 / 3, 1, 1]],
        rtol=1e-6,
    )


def test_bytes_are_shares_of_255():
    """scikit-image of uint8 [200, 100, 50]: rgb2hsv .0556 .75 .7843, rgb2lab 53.630 36.305 45.380."""
    rgb = np.array([200, 100, 50], np.uint8)
    np.testing.assert_allclose(rgb_to_hsv(rgb), [1 / 18, 0.75, 200 / 255], rtol=1e-6)
    np.testing.assert_allclose(rgb_to_lab(rgb), [53.630, 36.305, 45.380], atol=1e-2)


def test_values_outside_count_at_the_ends():
    image = jnp.array([-1.0, 1.0, 7.0]).reshape(1, 1, 3, 1)
    np.testing.assert_array_equal(color_histogram(image, 4, normalize=False), [[1, 0, 0, 2]])


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"images.shape=\(0, 4, 4, 3\): not an image batch"):
        color_histogram(np.zeros((0, 4, 4, 3)))
    with pytest.raises(ValueError, match=r"images.dtype=int64"):
        color_histogram(np.zeros((1, 4, 4, 3), np.int64))
    assert jax.eval_shape(lambda x: color_histogram(x, 1), np.zeros((1, 4, 4, 3))).shape == (1, 1)
    with pytest.raises(ValueError, match="not RGB"):
        color_histogram(np.zeros((1, 4, 4, 1)), space="hsv")


@pytest.mark.covers("DE-04")
def test_lab_is_scikit_images():
    rgb = GOLDENS["rgb2lab/in.rgb"]
    with jax.enable_x64(True):
        np.testing.assert_allclose(rgb_to_lab(rgb), GOLDENS["rgb2lab/out.lab"], atol=1e-6)
    np.testing.assert_allclose(rgb_to_lab(rgb), GOLDENS["rgb2lab/out.lab"], atol=1e-3)
    gray = np.linspace(0, 1, 5)[:, None] * np.ones(3)
    np.testing.assert_allclose(rgb_to_lab(gray)[:, 1:], 0, atol=2e-2)
    with pytest.raises(ValueError, match="not RGB"):
        rgb_to_lab(np.zeros((4, 4)))
