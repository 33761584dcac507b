"""Bumps and staircases of sigmoids: worked numbers, and errors that fall with the width."""

import numpy as np
import pytest

from dlcore.classic_ml.universal_approximation import network, staircase, step_pair, sup_error


@pytest.mark.covers("DD-21")
def test_a_pair_of_steps_is_a_bump():
    """Height 2 between .2 and .6: the middle, the outside, and half the height at an edge."""
    bump = step_pair(0.2, 0.6, 2.0, 1000)
    np.testing.assert_allclose(network(bump, np.array([0.4, 0.0, 1.0, 0.2, 0.6])), [2, 0, 0, 1, 1], atol=1e-12)
    w, bias, out, level = step_pair(1, 3, 5, 10)
    np.testing.assert_array_equal([w, bias, out], [[10, 10], [-10, -30], [5, -5]])
    assert level == 0


@pytest.mark.covers("DD-21")
def test_the_error_on_a_sine_halves_when_the_width_doubles():
    """In a stair of width 1/n the sine changes by at most 2 π / 2n: π/n, and nearly all of it."""

    def sine(x):
        return np.sin(2 * np.pi * x)

    errors = [sup_error(sine, staircase(sine, 0, 1, n, sharpness=50), 0, 1) for n in (8, 16, 32, 64, 128)]
    for n, error in zip((8, 16, 32, 64, 128), errors, strict=True):
        assert 0.95 * np.pi / n < error < np.pi / n
    assert len(staircase(sine, 0, 1, 8)[0]) == 16


@pytest.mark.covers("DD-21")
def test_a_jump_is_met_everywhere_but_at_the_jump():
    def step(x):
        return np.where(x > 0.5, 1.0, 0.0)

    x = np.linspace(0, 1, 1001)
    away = np.abs(x - 0.5) > 0.05
    errors = [np.abs(network(staircase(step, 0, 1, n, 10), x) - step(x)) for n in (4, 8, 16, 32)]
    assert (np.diff([e[away].max() for e in errors]) < 0).all()
    assert errors[-1][away].max() < 1e-3
    assert errors[-1].max() == pytest.approx(0.5, abs=0.01)
    explicit = step_pair(0.5, 2.0, 1.0, 1e4)  # one pair, an edge of it on the jump
    assert np.abs(network(explicit, x) - step(x))[away].max() < 1e-12


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="left=1, right=1, steepness=2: no bump; allowed: left < "):
        step_pair(1, 1, 1, 2)
