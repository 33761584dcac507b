"""The nearest neighbor by the cosine, against arithmetic by hand."""

import numpy as np

from experiments.papers import omniglot


def test_length_of_a_support_does_not_count():
    """[3, 3] has cosine .71 with [9, 0] and .98 with [1, 1.5]; by the product alone [9, 0] would win."""
    support = np.array([[[9.0, 0], [0, 0]], [[1, 1.5], [-1, 0]]])
    np.testing.assert_array_equal(omniglot.nearest_by_cosine(support, np.array([[3.0, 3], [5, 1]])), [1, 0])
