"""Slopes by differences, and the order of their error."""

import numpy as np
import pytest

from dlcore.backprop import numerical_gradient


@pytest.mark.parametrize("centered", [False, True])
def test_the_slope_of_a_cube_by_hand(centered):
    # x³ at 2, h = .1: one-sided (9.261 - 8) / .1 = 12.61, centered (9.261 - 6.859) / .2 = 12.01; the slope is 12.
    got = numerical_gradient(lambda x: float(x[0] ** 3), np.array([2.0]), h=0.1, centered=centered)
    assert got[0] == pytest.approx(12.01 if centered else 12.61)


def test_the_error_falls_with_h_and_with_its_square():
    def error(h, centered):
        return abs(numerical_gradient(lambda x: np.exp(x).sum(), np.zeros(1), h, centered)[0] - 1)

    assert error(1e-2, False) / error(1e-3, False) == pytest.approx(10, rel=0.05)
    assert error(1e-2, True) / error(1e-3, True) == pytest.approx(100, rel=0.05)


def test_every_number_of_an_array_and_the_array_stays():
    x = np.arange(6.0).reshape(2, 3)
    np.testing.assert_allclose(numerical_gradient(lambda x: (x**2).sum(), x), 2 * x, atol=1e-8)
    np.testing.assert_array_equal(x, np.arange(6.0).reshape(2, 3))


def test_bad_arguments():
    assert numerical_gradient(np.sum, np.zeros(1), h=1e-10)[0] == pytest.approx(1)
    with pytest.raises(ValueError, match=r"h=1e-12: out of range; allowed"):
        numerical_gradient(np.sum, np.ones(1), h=1e-12)
    with pytest.raises(ValueError, match=r"h=1: out of range; allowed: \[1e-10, 1\)"):
        numerical_gradient(np.sum, np.ones(1), h=1)
    with pytest.raises(ValueError, match=r"function: gives an array of shape \(2,\); allowed: one number"):
        numerical_gradient(np.sin, np.ones(2))
