"""Precision, recall, density and coverage of samples: by hand, against loops, and in expectation."""

import numpy as np
import pytest

from dlcore.evaluators import manifold
from dlcore.evaluators.manifold import half_interval, neighborhoods


def oracle(real, samples, k):
    """The authors' formulas with loops over pairs: float64, distances by their definition."""

    def radius(points, i):
        return np.sort([np.linalg.norm(points[i] - p) for j, p in enumerate(points) if j != i])[k - 1]

    real_radii = [radius(real, i) for i in range(len(real))]
    sample_radii = [radius(samples, j) for j in range(len(samples))]
    distances = np.array([[np.linalg.norm(x - y) for y in samples] for x in real])
    inside = [[distances[i, j] < real_radii[i] for j in range(len(samples))] for i in range(len(real))]
    return {
        "precision": np.any(inside, 0),
        "recall": np.array([any(distances[i, j] < r for j, r in enumerate(sample_radii)) for i in range(len(real))]),
        "density": np.sum(inside, 0) / k,
        "coverage": np.array([distances[i].min() < real_radii[i] for i in range(len(real))]),
    }


@pytest.mark.covers("ME-16")
def test_by_hand():
    # On a line, k = 1. Real 0, 1, 4: radii 1, 1, 3. Samples 0.5, 1.5, 9: radii 1, 1, 7.5.
    # 0.5 is in the balls of 0 and 1 (0.5 < 1); 4 is 3.5 away. 1.5 in those of 1 and 4 (2.5 < 3). 9 in none (5 > 3).
    # Recall: 0 and 1 are 0.5 from 0.5; 4 is 5 from 9, whose ball has 7.5.
    real, samples = np.array([[0.0], [1.0], [4.0]]), np.array([[0.5], [1.5], [9.0]])
    values = neighborhoods(real, samples, 1)
    np.testing.assert_array_equal(values.precision, [1, 1, 0])
    np.testing.assert_array_equal(values.density, [2, 2, 0])
    np.testing.assert_array_equal(values.recall, [1, 1, 1])
    np.testing.assert_array_equal(values.coverage, [1, 1, 1])


@pytest.mark.covers("ME-16")
@pytest.mark.parametrize("k", [1, 3, 5])
def test_as_the_formulas_of_the_authors(monkeypatch, k):
    """In blocks of 7, of sets of two sizes, far from the origin."""
    monkeypatch.setattr(manifold, "_BLOCK", 7)
    rng = np.random.default_rng(k)
    real, samples = 100 + rng.normal(size=(20, 3)), 100.5 + 0.7 * rng.normal(size=(15, 3))
    expected = oracle(real, samples, k)
    for name, values in neighborhoods(real, samples, k)._asdict().items():
        np.testing.assert_allclose(values, expected[name], err_msg=name)


@pytest.mark.covers("ME-16")
def test_two_sets_of_one_distribution_and_a_collapsed_one():
    """Of 600 points each: density 1, coverage 1 - 2^-5 = 0.969. Samples of half the data have half the coverage."""
    rng = np.random.default_rng(0)
    real, samples = rng.normal(size=(2, 600, 2))
    even, half = neighborhoods(real, samples), neighborhoods(real, np.abs(samples) * [1, -1] * [1, -1])
    assert even.density.mean() == pytest.approx(1, abs=0.1)
    assert even.coverage.mean() == pytest.approx(1 - 2**-5, abs=0.03)
    assert half.precision.mean() > 0.9  # a quarter of the plane: real samples without variety
    assert half.coverage.mean() == pytest.approx(0.25, abs=0.08)
    assert half.recall.mean() < 0.4


def test_copies_of_one_point_have_no_recall():
    real = np.random.default_rng(1).normal(size=(9, 2))
    values = neighborhoods(real, np.repeat(real[:1], 9, 0), 3)
    assert values.recall.sum() == 0
    assert values.precision.all()


def test_the_interval_by_hand():
    # Values 0, 0, 1, 1: variance 4 / 4 / 3 = 1/3, 1.96 sqrt(1/3 / 4) = 0.5658.
    assert half_interval(np.array([0.0, 0, 1, 1])) == pytest.approx(0.56580, abs=1e-5)


def test_bad_input_is_named():
    x = np.zeros((4, 2))
    with pytest.raises(ValueError, match="k=4: out of range; allowed: 1 to 3"):
        neighborhoods(x, x, 4)
