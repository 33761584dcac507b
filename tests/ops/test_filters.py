"""Filters: the numbers of SciPy and scikit-image."""

from pathlib import Path

import jax
import numpy as np
import pytest
from scipy import ndimage

from dlcore.ops.filters import correlate_separable, gaussian_filter, sobel_filter

GOLDENS = np.load(Path(__file__).parents[1] / "goldens" / "classical_vision.npz")
GREY = GOLDENS["data/grey"]


def test_filters_are_scikit_images_and_scipys():
    """skimage.filters.sobel divides SciPy's by 4."""
    blurred, (down, right), reflected = jax.jit(
        lambda x: (gaussian_filter(x, 1.5), sobel_filter(x), gaussian_filter(x, 0.7, mode="reflect"))
    )(GREY)
    np.testing.assert_allclose(blurred, GOLDENS["gaussian/out"], atol=1e-6)
    np.testing.assert_allclose(down, ndimage.sobel(GREY, 0), atol=1e-5)
    np.testing.assert_allclose(right, ndimage.sobel(GREY, 1), atol=1e-5)
    np.testing.assert_allclose(reflected, ndimage.gaussian_filter(GREY, 0.7), atol=1e-6)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="kernel of 2 weights: no middle"):
        correlate_separable(GREY, [1, 1], [1])


@pytest.mark.parametrize("mode", ["nearest", "constant", "reflect"])
def test_unequal_kernels_and_borders_equal_scipys(mode):
    image, rows, columns = np.random.default_rng(0).normal(size=(2, 5, 6)), [1, 0, -2], [0.5, 0, 3, 1, 2]

    @jax.jit
    def call(x):
        return (
            correlate_separable(x, rows, columns, mode),
            correlate_separable(x, [2], [1], mode),
            sobel_filter(x, mode),
        )

    both, twice, (down, right) = call(image)
    for got, x in zip(both, image, strict=True):
        want = ndimage.correlate1d(ndimage.correlate1d(x, rows, 0, mode=mode), columns, 1, mode=mode)
        np.testing.assert_allclose(got, want, atol=1e-5)
    np.testing.assert_allclose(twice, 2 * image, rtol=1e-6)
    np.testing.assert_allclose(down[1], ndimage.sobel(image[1], 0, mode=mode), atol=1e-5)
    np.testing.assert_allclose(right[1], ndimage.sobel(image[1], 1, mode=mode), atol=1e-5)


def test_widths_of_gaussians_equal_scipys():
    """Radii of int(truncate sigma + 1/2): 2, 3 and 0; without a deviation nothing is blurred."""
    image, widths = np.random.default_rng(0).normal(size=(7, 9)), [(1.2, 2.0), (1.25, 2.0), (0.4, 1.0), (0.9, 4.0)]
    blurred = jax.jit(lambda x: [gaussian_filter(x, *width, mode="constant") for width in widths])(image)
    for got, (sigma, truncate) in zip(blurred, widths, strict=True):
        want = ndimage.gaussian_filter(image, sigma, truncate=truncate, mode="constant")
        np.testing.assert_allclose(got, want, atol=1e-6)
    np.testing.assert_array_equal(gaussian_filter(image.astype(np.float32), 0), image.astype(np.float32))
