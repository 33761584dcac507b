"""Closed forms of what the study measures, and that its verdict turns with its numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import sgd_pathologies as study


@pytest.mark.covers("OP-16")
def test_iterations_on_the_bowl_are_those_of_the_closed_form():
    """At 2 / (1 + kappa) both errors shrink by q = (kappa - 1) / (kappa + 1) a step: log(1e6) / -log q, rounded up."""
    kappas = np.array([10.0, 100.0])
    counts = study.bowl(kappas)
    want = np.ceil(np.log(1e6) / -np.log((kappas - 1) / (kappas + 1)))
    np.testing.assert_allclose(counts["gradient descent"], want, atol=1)
    assert (counts["momentum"] < counts["gradient descent"]).all()
    assert study.slope(np.array([1.0, 10, 100]), np.array([2.0, 20, 200])) == pytest.approx(1)


@pytest.mark.covers("OP-16")
def test_momentum_and_noise_leave_the_saddle_and_neither_does_without_noise():
    paths = study.saddle(4, 120)
    for name in ("gradient descent", "momentum"):
        np.testing.assert_array_equal(paths[name][:, :, 1], 0)
    assert (np.abs(paths["momentum and noise"][:, -1, 1]) > 1).all()
    # Without noise x shrinks by 1 - 2 * 0.02 a step.
    np.testing.assert_allclose(paths["gradient descent"][0, :, 0], 0.96 ** np.arange(121), rtol=1e-4)


@pytest.mark.covers("OP-16")
def test_half_of_the_numbers_are_positive_and_fewer_matrices():
    shares = study.minima_share((1, 2, 3), 4000)
    assert shares[0] == pytest.approx(0.5, abs=0.03)
    # A 2x2 Gaussian orthogonal matrix is positive definite with probability (2 - sqrt 2) / 4 = .146.
    assert shares[1] == pytest.approx((2 - np.sqrt(2)) / 4, abs=0.02)
    assert shares[2] < shares[1]


def test_a_flatter_start_takes_longer():
    steps = study.plateau(np.array([-1.0, 0.0, 3.0]))
    assert steps[0] == 0
    assert 1 <= steps[1] < steps[2]
    p = jax.nn.sigmoid(jnp.float32(0.0))
    assert float(jax.grad(lambda z: jax.nn.sigmoid(z) ** 2 / 2)(0.0)) == pytest.approx(float(p * p * (1 - p)))


def measured(plain=1.0, heavy=0.5, escapes=3):
    kappas = np.geomspace(10, 1000, 4)
    paths = {name: np.zeros((4, 5, 2)) for name in ("gradient descent", "momentum", "noise", "momentum and noise")}
    paths["momentum and noise"][:escapes, -1, 1] = 2
    counts = {"gradient descent": 7 * kappas**plain, "momentum": 7 * kappas**heavy}
    return kappas, counts, paths, (1, 2), np.array([0.5, 0.1]), (0.0, 2.0), np.array([1, 5])


@pytest.mark.covers("OP-16")
def test_the_verdict_turns():
    good = study.report(*measured())
    assert good.holds
    assert "kappa^1.00 for gradient descent and kappa^0.50 with momentum: as theory's" in good.verdict
    for changed, words in (({"plain": 0.8}, "NOT as"), ({"heavy": 0.7}, "NOT as"), ({"escapes": 1}, "1 with both")):
        result = study.report(*measured(**changed))
        assert not result.holds
        assert words in result.verdict


def test_the_smoke_version():
    result = study.study(**study.experiment.smoke)
    assert result.numbers["slope, gradient descent"] == pytest.approx(1, abs=0.15)
    assert result.numbers["slope, momentum"] == pytest.approx(0.5, abs=0.15)
