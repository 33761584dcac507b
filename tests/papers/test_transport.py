"""Couplings, distances and energies of points, against arithmetic by hand."""

import numpy as np
import pytest

pytest.importorskip("sklearn")
transport = pytest.importorskip("experiments.papers.transport")


def test_noise_is_ordered_within_each_batch():
    """3 lies next to 4, and 0 next to 1; in the second batch the order is right, 5 before 9."""
    noise, data = np.array([[3.0], [0], [5], [9]]), np.array([[1.0], [4], [6], [10]])
    np.testing.assert_array_equal(transport.couple(noise, data, 2), [[0], [3], [5], [9]])


def test_distance_is_that_of_the_best_assignment():
    """0 -> 3 and 10 -> 14: sqrt((9 + 16) / 2)."""
    value = transport.wasserstein(np.array([[0.0], [10]]), np.array([[14.0], [3]]))
    assert value == pytest.approx(12.5**0.5)


def test_energy_of_a_detour():
    """One step of 1 and one of 3 in time 1/2 each: (2^2 + 6^2) / 2 = 20; a point at rest has none: the mean is 10."""
    path = np.array([[[0.0, 0], [5, 5]], [[1, 0], [5, 5]], [[1, 3], [5, 5]]])
    assert transport.path_energy(path) == pytest.approx(10.0)
