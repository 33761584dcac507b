"""Where the modes stand and how many points each has."""

import chex
import numpy as np
import pytest

from dlcore.generative.ring import PointClassifier, ring_centers, ring_points
from tests.wiring import assert_wiring


def test_centers_by_hand():
    np.testing.assert_allclose(ring_centers(4, 2.0), [[2, 0], [0, 2], [-2, 0], [0, -2]], atol=1e-6)
    chex.assert_shape(ring_centers(), (8, 2))


def test_every_mode_has_its_share_and_deviation():
    source = ring_points(801, 0, std=0.1)
    assert set(np.bincount(source.arrays["label"])) == {100, 101}
    spread = source.arrays["point"] - ring_centers()[source.arrays["label"]]
    assert spread.std() == pytest.approx(0.1, rel=0.1)
    assert not np.allclose(ring_points(801, 1).arrays["point"], source.arrays["point"])


def test_points_without_noise_are_the_centers_in_turn():
    source = ring_points(7, 0, num_modes=3, radius=5.0, std=0.0)
    np.testing.assert_array_equal(source.arrays["point"], ring_centers(3, 5.0)[[0, 1, 2, 0, 1, 2, 0]])
    assert source.class_names == ("mode 0", "mode 1", "mode 2")


def test_bad_numbers_are_named():
    with pytest.raises(ValueError, match="radius=0: out of range"):
        ring_centers(3, 0.0)


def test_the_wiring_of_the_classifier_of_points_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(PointClassifier(3, width=4, depth=2), (5, 2), [5.21604, -0.633197])
