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
    with pytest.raises(ValueError, match=r"sigma=-1: out of range"):
        gaussian_filter(GREY, -1)
    with pytest.raises(ValueError, match="mode='wrap': unknown; allowed: nearest, constant, reflect"):
        gaussian_filter(GREY, 1, mode="wrap")
    with pytest.raises(ValueError, match="kernel of 2 weights: no middle"):
        correlate_separable(GREY, [1, 1], [1])
    with pytest.raises(ValueError, match=r"^columns\[1\]=nan: not finite"):
        correlate_separable(GREY, np.ones(3), np.array([1, np.nan, 1]))
