"""Counts of modes that are known beforehand."""

import numpy as np
import pytest

from dlcore.data.source import Source
from dlcore.evaluators.mode_coverage import mode_coverage, mode_coverage_evaluator
from dlcore.generative.ring import ring_centers, ring_points


@pytest.mark.covers("GE-15")
def test_the_data_itself_covers_all_modes():
    points = ring_points(8000, 0).arrays["point"]
    found = mode_coverage(points, ring_centers(), 0.02)
    assert found["modes"] == 8
    # Within 3 deviations in the plane: 1 - exp(-9 / 2) = 0.989.
    assert found["high_quality"] == pytest.approx(1 - np.exp(-4.5), abs=0.005)
    np.testing.assert_allclose(found["mode_share"], found["high_quality"] / 8, atol=0.002)


@pytest.mark.covers("GE-15")
def test_a_collapsed_generator_is_seen():
    centers = ring_centers()
    one = np.repeat(centers[:1], 100, 0)
    assert mode_coverage(one, centers, 0.02)["modes"] == 1
    two = np.concatenate([one, np.repeat(centers[3:4], 100, 0)])
    assert mode_coverage(two, centers, 0.02)["modes"] == 2
    # Half of the samples are on no mode; and a mode that one of 200 samples hits is not covered.
    off = np.concatenate([one, np.zeros((99, 2)), centers[5:6]])
    found = mode_coverage(off, centers, 0.02)
    assert found["modes"] == 1
    assert found["high_quality"] == pytest.approx(101 / 200)


def test_the_evaluator_joins_batches():
    measure = mode_coverage_evaluator(ring_centers(), 0.02, Source.indices(4))
    centers = ring_centers()
    acc = measure.add(measure.add(None, {"sample": centers[:3]}, None), {"sample": centers[3:]}, None)
    assert measure.finish(acc)["modes"] == 8


def test_a_mode_is_covered_from_the_least_share_of_samples_within_three_deviations_on():
    """Ten samples: at 0 one, at 0 + 3 x 0.5 one more, one just beyond; at 10 four, at 20 three, at 30 none."""
    centers, samples = np.array([[0.0], [10], [20], [30]]), np.array([[0], [1.5], [1.75], *[[10]] * 4, *[[20]] * 3])
    found = mode_coverage(samples, centers, 0.5, 0.3)
    np.testing.assert_allclose(found["mode_share"], [0.2, 0.4, 0.3, 0])
    assert (found["modes"], found["high_quality"]) == (2, pytest.approx(0.9))
    assert mode_coverage(samples, centers, 0.5, 0.31)["modes"] == 1
    measure = mode_coverage_evaluator(centers, 0.5, "source", "point")
    assert (measure.source, measure.names) == ("source", ("modes", "high_quality"))
    assert measure.finish(measure.add(None, {"point": samples}, None))["modes"] == 3
