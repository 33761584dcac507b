"""Rows of images: shape, type, and what is refused."""

import numpy as np
import pytest

from dlcore.classic_ml.examples import as_examples, as_rows


@pytest.mark.parametrize(("given", "kept"), [("uint8", "float32"), ("float32", "float32"), ("float64", "float64")])
def test_images_become_rows_and_only_float64_keeps_its_type(given, kept):
    rows = as_rows(np.arange(24).reshape(2, 3, 2, 2).astype(given))
    assert rows.dtype == kept
    np.testing.assert_array_equal(rows, np.arange(24).reshape(2, 12))
    np.testing.assert_array_equal(as_rows(rows, 12), rows)
    with pytest.raises(ValueError, match=r"images.shape=\(2, 12\): 12 numbers per example; allowed: 11"):
        as_rows(rows, 11)


def test_labels_become_positions_among_those_that_occur():
    examples = as_examples(np.zeros((4, 1)), np.array([7, 3, 7, -1]))
    np.testing.assert_array_equal(examples.classes, [-1, 3, 7])
    np.testing.assert_array_equal(examples.label, [2, 1, 2, 0])


def test_bad_examples_are_refused():
    with pytest.raises(ValueError, match=r"images.shape=\(3,\): too few axes; allowed: \[N, ...\]"):
        as_examples(np.zeros(3), np.zeros(3, int))
