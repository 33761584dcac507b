"""Post-hoc EMA: the paper's exponents, the average as an integral, and other widths from stored averages."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.optim.power_ema import combine_averages, posthoc_weights, power_decay, power_exponent


@pytest.mark.covers("GE-33")
def test_exponents_are_those_of_the_paper():
    """Its section 3.1: widths of .05 and .1 have g = 16.97 and 6.94."""
    assert power_exponent(0.05) == pytest.approx(16.97, abs=0.01)
    assert power_exponent(0.1) == pytest.approx(6.94, abs=0.01)
    g = power_exponent(0.2)
    assert ((g + 1) / ((g + 2) ** 2 * (g + 3))) ** 0.5 == pytest.approx(0.2)


@pytest.mark.covers("GE-33")
def test_updates_give_the_integral():
    """params(s) = s: (g + 1) / t^(g + 1) t^(g + 2) / (g + 2) = (g + 1) / (g + 2) t, and half a step more."""
    steps = jnp.arange(1, 1001)
    decays = power_decay(steps, 6.0)
    assert decays[0] == 0  # the first step replaces the initial parameters
    average, _ = jax.lax.scan(lambda a, x: (x[1] * a + (1 - x[1]) * x[0], None), 123.0, (steps.astype(float), decays))
    assert float(average) == pytest.approx(7 / 8 * 1000, abs=1)


@pytest.mark.covers("GE-33")
def test_another_width_from_two_stored_ones():
    """The curve of a random walk: averages of widths .05 and .1, stored every 50 steps, give that of .08."""
    walk = np.cumsum(np.random.default_rng(0).normal(size=(1000, 20)), 0)

    def averages(width):
        exponent, average, path = power_exponent(width), 0.0, []
        for t, params in enumerate(walk, 1):
            beta = (1 - 1 / t) ** (exponent + 1)
            average = beta * average + (1 - beta) * params
            path.append(average)
        return np.array(path)

    stored = np.arange(50, 1001, 50)
    snapshots = [{"w": averages(width)[t - 1]} for width in (0.05, 0.1) for t in stored]
    exponents = np.repeat([power_exponent(0.05), power_exponent(0.1)], len(stored))
    weights = posthoc_weights(np.tile(stored, 2), exponents, 900, power_exponent(0.08))
    assert weights.sum() == pytest.approx(1, abs=0.01)
    exact = averages(0.08)[899]
    average = combine_averages(snapshots, weights)["w"]
    assert np.abs(average - exact).mean() < 0.03 * np.abs(averages(0.05)[899] - averages(0.1)[899]).mean()
    # A stored average is itself.
    same = posthoc_weights(np.tile(stored, 2), exponents, 500, exponents[0])
    np.testing.assert_allclose(same, np.eye(40)[9], atol=1e-4)


def test_bad_input():
    with pytest.raises(ValueError, match=r"width=0\.5: out of range; allowed: above 0, at most 0\.28"):
        power_exponent(0.5)
