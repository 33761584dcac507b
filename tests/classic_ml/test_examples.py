"""Rows of images: shape, type, and what is refused."""

import numpy as np
import pytest

from dlcore.classic_ml.examples import as_examples, as_rows


@pytest.mark.parametrize(("given", "kept"), [("uint8", "float32"), ("float32", "float32"), ("float64", "float64")])
def test_images_become_rows_and_only_float64_keeps_its_type(given, kept):
    rows = as_rows(np.arange(24).reshape(2, 3, 2, 2).astype(given))
    assert rows.dtype == kept
    np.testing.assert_array_equal(rows, np.arange(24).reshape(2, 12))


def test_labels_become_positions_among_those_that_occur():
    examples = as_examples(np.zeros((4, 1)), np.array([7, 3, 7, -1]))
    np.testing.assert_array_equal(examples.classes, [-1, 3, 7])
    np.testing.assert_array_equal(examples.label, [2, 1, 2, 0])


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros(3), np.zeros(3, int), r"images has shape \(3,\); it must be \[N, ...\]"),
        (np.zeros((3, 2)), np.zeros(2, int), r"labels is int64 of shape \(2,\); it must be \[3\] integers"),
        (np.zeros((3, 2)), np.zeros(3), r"labels is float64 of shape \(3,\); it must be \[3\] integers"),
        (np.zeros((0, 2)), np.zeros(0, int), "images is empty"),
        (np.array([[0.0], [np.nan]]), np.zeros(2, int), "images holds numbers that are not finite, first in example 1"),
    ],
)
def test_bad_examples_are_refused(images, labels, message):
    with pytest.raises(ValueError, match=message):
        as_examples(images, labels)
