"""Planted laws, and intervals that hold what they promise."""

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import curve_fit

from dlcore.diagnostics.scaling_law import fit_power_law

SIZES = np.array([1e3, 2e3, 4e3, 8e3, 16e3])


@pytest.mark.covers("AT-35")
def test_a_planted_law_is_recovered():
    law = fit_power_law(SIZES, 30 * SIZES**-0.4 + 1.5)
    assert (law.a, law.b, law.c) == pytest.approx((30, 0.4, 1.5), rel=1e-3)
    assert law.noise < 1e-4
    assert law(32e3) == pytest.approx(30 * 32e3**-0.4 + 1.5, rel=1e-5)
    assert law.freedom == 2


@pytest.mark.covers("AT-35")
def test_the_interval_holds_a_new_measurement_as_often_as_it_says():
    """Fifteen noisy losses; the loss of twice the largest size lies inside in about 95 of 100 fits."""
    rng, sizes, inside, exponents = np.random.default_rng(0), np.repeat(SIZES, 3), 0, 0
    for _ in range(60):
        law = fit_power_law(sizes, 30 * sizes**-0.4 + 1.5 + 0.02 * rng.normal(size=15))
        low, high = law.interval(32e3)
        inside += low <= 30 * 32e3**-0.4 + 1.5 + 0.02 * rng.normal() <= high
        low, high = law.exponent_interval()
        exponents += low <= 0.4 <= high
        assert law.interval(32e3, 0.5)[0] > law.interval(32e3)[0]
    assert 51 <= inside <= 60
    assert 51 <= exponents <= 60


def test_the_intervals_are_those_of_least_squares_by_scipy():
    rng, sizes = np.random.default_rng(0), np.repeat(SIZES, 2)
    losses = 30 * sizes**-0.4 + 1.5 + 0.02 * rng.normal(size=10)
    law = fit_power_law(sizes, losses)
    curve = lambda n, log_a, b, c: np.exp(log_a - b * np.log(n / 4e3)) + c  # noqa: E731
    (_, b, c), covariance = curve_fit(curve, sizes, losses, (0.0, 0.4, 1.0), ftol=1e-14, xtol=1e-14)
    assert (law.b, law.c, law.freedom) == pytest.approx((b, c, 7), rel=1e-4)
    noise = np.sqrt(np.square(losses - law(sizes)).sum() / 7)
    power = law(32e3) - law.c
    gradient = np.array([power, -power * np.log(32e3 / 4e3), 1])
    for confidence in (0.95, 0.6):
        quantile = stats.t.ppf(1 - (1 - confidence) / 2, 7)
        half = quantile * np.sqrt(gradient @ covariance @ gradient + noise**2)
        assert law.interval(32e3, confidence) == pytest.approx((law(32e3) - half, law(32e3) + half), rel=1e-4)
        half = quantile * np.sqrt(covariance[1, 1])
        assert law.exponent_interval(confidence) == pytest.approx((law.b - half, law.b + half), rel=1e-4)


def test_a_loss_outside_is_not_held():
    law = fit_power_law(SIZES, 30 * SIZES**-0.4 + 1.5 + 1e-3 * np.array([1, -1, 1, -1, 1]))
    low, high = law.interval(32e3)
    assert low < 30 * 32e3**-0.4 + 1.5 < high < 30 * SIZES[0] ** -0.4 + 1.5


def test_bad_measurements_are_refused():
    with pytest.raises(ValueError, match=r"sizes=\[1.0, 2.0, 3.0\]: 3 losses; allowed: one loss a size, 4 or more"):
        fit_power_law([1.0, 2, 3], [3.0, 2, 1])
