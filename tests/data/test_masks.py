"""Packed masks, COCO's run lengths and polygons by hand, and what is visible."""

import chex
import jax
import numpy as np
import pytest

from dlcore.data.masks import masks_to_rles, pack_masks, rle_to_mask, segmentation_to_mask, unpack_masks, visible_masks

MASK = np.array([[0, 1, 1], [0, 1, 0]], bool)


def test_bits_come_back_in_numpy_and_under_jit():
    masks = np.random.default_rng(0).random((2, 3, 5, 13)) < 0.5
    packed = pack_masks(masks)
    chex.assert_shape(packed, (2, 3, 5, 2))
    np.testing.assert_array_equal(unpack_masks(packed, 13), masks)
    np.testing.assert_array_equal(jax.jit(unpack_masks, static_argnums=1)(packed, 13), masks)
    with pytest.raises(ValueError, match="width=17: 2 bytes a row; allowed: 3"):
        unpack_masks(packed, 17)


def test_run_lengths_go_down_the_columns():
    # Columns 00, 11, 10: two zeros, three ones, one zero.
    rle = {"size": [2, 3], "counts": [2, 3, 1]}
    np.testing.assert_array_equal(rle_to_mask(rle), MASK)
    np.testing.assert_array_equal(rle_to_mask(masks_to_rles(MASK[None])[0]), MASK)
    np.testing.assert_array_equal(segmentation_to_mask(masks_to_rles(MASK[None])[0], (2, 3)), MASK)


def test_polygons_are_filled_and_joined():
    mask = segmentation_to_mask([[1, 1, 4, 1, 4, 3, 1, 3], [5, 0, 6, 0, 6, 5, 5, 5]], (5, 7))
    want = np.zeros((5, 7), bool)
    want[1:3, 1:4] = want[:, 5] = True
    np.testing.assert_array_equal(mask, want)


def test_later_masks_hide_earlier_ones():
    far, middle, near = np.array([[1, 1, 1, 1]]), np.array([[0, 1, 1, 0]]), np.array([[0, 0, 1, 1]])
    seen = visible_masks(np.stack([far, middle, near]))
    np.testing.assert_array_equal(seen[:, 0], [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1]])
    chex.assert_shape(visible_masks(np.zeros((0, 2, 2))), (0, 2, 2))


@pytest.mark.parametrize("counts", [{"a": 1}, 6, ["6"], [[6]], [2.5, 3.5], None])
def test_run_lengths_that_are_no_list_of_numbers_are_refused(counts):
    with pytest.raises(ValueError, match="not run lengths; allowed: a list of whole numbers, or a string"):
        rle_to_mask({"size": [2, 3], "counts": counts})


def test_run_lengths_that_do_not_fit_are_refused():
    """pycocotools fills what a short string leaves with whatever memory holds."""
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (7, 5), (200, 300)):
        for mask in (np.zeros(shape, bool), np.ones(shape, bool), rng.random(shape) < 0.3):
            np.testing.assert_array_equal(rle_to_mask(masks_to_rles(mask[None])[0]), mask)
    # Lengths 2, 3, 4 of 9 pixels are "2", "3", "4"; 100 is 4 + 3 * 32: "T" ("0" + 4 + 32) and "3".
    np.testing.assert_array_equal(rle_to_mask({"size": [9, 1], "counts": "234"})[:, 0], [0, 0, 1, 1, 1, 0, 0, 0, 0])
    assert not rle_to_mask({"size": [10, 10], "counts": b"T3"}).any()
    for counts, problem in (
        ("23", "counts: they add up to 5; allowed: 9"),
        ("2345", "counts: they add up to 17; allowed: 9"),  # the fourth is 5 more than the second, 8
        ("2T", "not run lengths"),
        ("2 4", "not run lengths"),
        ("", "not run lengths"),
        ("abc", "not run lengths"),
        ([2, 3], "counts: they add up to 5"),
    ):
        with pytest.raises(ValueError, match=problem):
            rle_to_mask({"size": [9, 1], "counts": counts})
