"""Images cut into patches and joined again."""

import chex
import numpy as np
import pytest

from dlcore.ops import patch_grid, patchify, unpatchify


@pytest.mark.covers("AT-31")
def test_patches_are_squares_row_by_row_and_join_again():
    x = np.arange(2 * 4 * 6 * 3).reshape(2, 4, 6, 3)
    patches = patchify(x, 2)
    chex.assert_shape(patches, (2, 6, 12))
    np.testing.assert_array_equal(patches[1, 4], x[1, 2:4, 2:4].reshape(-1))
    np.testing.assert_array_equal(unpatchify(patches, 2, 4, 6), x)


def test_patches_that_do_not_cover_an_image_are_refused():
    with pytest.raises(ValueError, match="size=2: patches do not cover 5 x 4 pixels; allowed: divisors of both"):
        patchify(np.zeros((1, 5, 4, 3)), 2)


def test_the_grid_of_patches_is_rows_by_columns():
    assert patch_grid(np.zeros((1, 4, 6, 3)), 2) == (2, 3)


def test_maps_of_patches_join_and_others_are_refused():
    x = np.arange(2 * 6 * 4 * 3).reshape(2, 6, 4, 3)
    patches = patchify(x, 2)
    np.testing.assert_array_equal(unpatchify(patches.reshape(2, 3, 2, 12), 2, 6, 4), x)
    for shape, size, height, width in (
        ((2, 6, 12), 2, 7, 4),
        ((2, 6, 12), 2, 6, 5),
        ((2, 5, 12), 2, 6, 4),
        ((2, 6, 11), 2, 6, 4),
        ((2, 3, 3, 12), 2, 6, 4),
    ):
        with pytest.raises(ValueError, match=f"no patches of size={size} of an image of its size; allowed"):
            unpatchify(np.zeros(shape), size, height, width)
    for size, shape in ((0, (1, 4, 4, 3)), (2, (1, 4, 5, 3))):
        with pytest.raises(ValueError, match=f"size={size}: patches do not cover 4 x"):
            patchify(np.zeros(shape), size)
    for shape in ((1, 4, 5, 3), (4, 4, 3)):
        with pytest.raises(ValueError, match="patches do not cover the image"):
            patch_grid(np.zeros(shape), 2)
