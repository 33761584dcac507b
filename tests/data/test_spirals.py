"""Spirals against the matrix exponential, and where segments begin and end."""

import chex
import numpy as np
import pytest
from scipy.linalg import expm

from dlcore.data.spirals import segments, spirals


@pytest.mark.covers("SQ-19")
def test_a_trajectory_solves_its_equation():
    arrays = spirals(3, 4, length=8, interval=0.5).arrays
    matrix = np.array([[-0.1, -2.0], [2.0, -0.1]])
    for state, time in zip(arrays["state"], arrays["time"], strict=True):
        np.testing.assert_allclose(time, 0.5 * np.arange(8))
        want = [expm(matrix * t) @ state[0] for t in time]
        np.testing.assert_allclose(state, want, atol=1e-5)
        assert 1 <= np.linalg.norm(state[0]) <= 2


def test_a_trajectory_depends_on_seed_and_index_alone():
    few, many = spirals(2, 1, 5).arrays["state"], spirals(4, 1, 5).arrays["state"]
    np.testing.assert_array_equal(few, many[:2])
    assert (few != spirals(2, 2, 5).arrays["state"]).any()


def test_segments_share_their_ends():
    source = spirals(2, 0, length=8)
    cut = segments(source, 4).arrays
    chex.assert_shape(cut["state"], (4, 4, 2))
    np.testing.assert_array_equal(cut["state"][0], source.arrays["state"][0, :4])
    np.testing.assert_array_equal(cut["state"][1], source.arrays["state"][0, 3:7])
    np.testing.assert_array_equal(cut["time"][3], source.arrays["time"][1, 3:7])


def test_bad_numbers_are_named():
    with pytest.raises(ValueError, match="length=9: no segment; allowed: 2 to the 8 points"):
        segments(spirals(1, length=8), 9)
