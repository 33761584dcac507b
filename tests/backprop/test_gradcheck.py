"""Slopes by differences: their order, the bands of the relative error, and what is too small to compare."""

import numpy as np
import pytest

from dlcore.backprop import judge, numerical_gradient, relative_error


@pytest.mark.parametrize("centred", [False, True])
def test_the_slope_of_a_cube_by_hand(centred):
    # x³ at 2, h = .1: one-sided (9.261 - 8) / .1 = 12.61, centred (9.261 - 6.859) / .2 = 12.01; the slope is 12.
    got = numerical_gradient(lambda x: float(x[0] ** 3), np.array([2.0]), h=0.1, centred=centred)
    assert got[0] == pytest.approx(12.01 if centred else 12.61)


def test_the_error_falls_with_h_and_with_its_square():
    def error(h, centred):
        return abs(numerical_gradient(lambda x: np.exp(x).sum(), np.zeros(1), h, centred)[0] - 1)

    assert error(1e-2, False) / error(1e-3, False) == pytest.approx(10, rel=0.05)
    assert error(1e-2, True) / error(1e-3, True) == pytest.approx(100, rel=0.05)


def test_every_number_of_an_array_and_the_array_stays():
    x = np.arange(6.0).reshape(2, 3)
    np.testing.assert_allclose(numerical_gradient(lambda x: (x**2).sum(), x), 2 * x, atol=1e-8)
    np.testing.assert_array_equal(x, np.arange(6.0).reshape(2, 3))


def test_relative_error_over_the_larger_or_over_the_sum():
    # |1 - 3| / 3 = 2/3, |1 - 3| / 4 = 1/2; opposite signs: 2 / 1 = 2 and 2 / 2 = 1.
    assert relative_error(np.array([1.0, 5.0]), np.array([3.0, 5.0])) == pytest.approx(2 / 3)
    assert relative_error(np.array(1.0), np.array(3.0), over="sum") == pytest.approx(0.5)
    assert relative_error(np.array(1.0), np.array(-1.0)) == 2
    assert relative_error(np.array(1.0), np.array(-1.0), over="sum") == 1
    assert relative_error(np.array([3e-11, 0.0]), np.array([-2e-11, 0.0])) == 0
    assert relative_error(np.zeros(0), np.zeros(0)) == 0


def test_the_bands():
    errors = [0.5, 5e-3, 5e-5, 1e-8, float("nan")]
    assert [judge(e) for e in errors] == ["wrong", "doubtful", "fine with kinks", "right", "wrong"]
    x = np.linspace(-1, 1, 7) + 0.01
    slope = numerical_gradient(lambda x: np.tanh(x).sum(), x)
    assert judge(relative_error(1 - np.tanh(x) ** 2, slope)) == "right"
    assert judge(relative_error(1 + np.tanh(x) ** 2, slope)) == "wrong"


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"h=1e-12 must lie in"):
        numerical_gradient(np.sum, np.ones(1), h=1e-12)
    with pytest.raises(ValueError, match=r"shapes \(2,\) and \(3,\)"):
        relative_error(np.ones(2), np.ones(3))
    with pytest.raises(ValueError, match="over='mean' is unknown; allowed are max, sum"):
        relative_error(np.ones(2), np.ones(2), over="mean")
