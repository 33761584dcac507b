"""Errors by degree: a fit by hand, falling training errors, the peak at interpolation, and the verdict."""

import numpy as np
import pytest

from experiments.studies import occam as study


@pytest.mark.covers("MI-03")
def test_degree_zero_is_the_mean_and_degree_one_the_regression_line():
    train, _ = study.errors(np.array([0, 1]), 3)
    rng = np.random.default_rng(3)
    x = np.cos(np.pi * rng.random(20))
    y = study.curve(x) + 0.2 * rng.normal(size=20)
    slope = np.cov(x, y, bias=True)[0, 1] / x.var()
    line = y.mean() + slope * (x - x.mean())
    np.testing.assert_allclose(train, [y.var(), np.square(y - line).mean()], rtol=1e-9)


@pytest.mark.covers("MI-03")
def test_training_errors_fall_to_zero_and_the_test_error_peaks_where_points_are_met():
    degrees = np.arange(60)
    rows = [study.errors(degrees, seed) for seed in range(15)]
    for train, _ in rows:
        assert (np.diff(train[:20]) <= 1e-7).all()
        assert train[25:].max() < 1e-3
    risk = np.median([test for _, test in rows], 0)
    assert 3 <= risk[:20].argmin() <= 12
    assert abs(int(risk.argmax()) - 19) <= 2
    assert risk[59] < risk.max() / 10


@pytest.mark.covers("MI-03")
def test_the_verdict_turns():
    degrees = np.array([0, 5, 19, 200])
    train, test = np.array([[0.5, 0.1, 0.0, 0.0]]), np.array([[0.5, 0.02, 3.0, 0.2]])
    assert study.report(degrees, train, test).holds
    for wrong in ([0.01, 0.02, 3.0, 0.2], [0.5, 0.02, 3.0, 5.0], [0.5, 0.02, 0.1, 0.01], [0.5, 0.02, 3.0, 0.4]):
        assert not study.report(degrees, train, np.array([wrong])).holds
