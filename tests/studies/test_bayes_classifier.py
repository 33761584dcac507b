"""Bayes' rule on densities of classes, the top of the likelihood, and the study on digits."""

import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.classic_ml.density import Gaussian
from experiments.studies.bayes_classifier import ask, climb, study


@pytest.mark.covers("GE-01")
def test_densities_classify_as_the_true_posterior_and_know_what_no_class_explains():
    """N(-1, 1) against N(1, 1) with equal shares: log odds 2x. At x = 9 the answer is sure, p(x) e^-32 / 5."""
    gaussians = [Gaussian(jnp.array([m]), jnp.eye(1)) for m in (-1.0, 1.0)]
    x = jnp.array([[-0.5], [0.0], [9.0]])
    posterior, evidence = ask(gaussians, np.log([0.5, 0.5]), x)
    np.testing.assert_allclose(np.exp(posterior[:, 1]), 1 / (1 + np.exp([1.0, 0.0, -18.0])), rtol=1e-5)
    assert evidence[2] == pytest.approx(-32 + np.log(0.5 / np.sqrt(2 * np.pi)), rel=1e-5)
    assert evidence[1] == pytest.approx(-0.5 - np.log(np.sqrt(2 * np.pi)), rel=1e-5)


@pytest.mark.covers("GE-02")
def test_the_most_likely_gaussian_has_the_mean_and_the_variance_of_the_sample():
    """1, 2, 6: mean 3 and variance 14/3; there the sum of log-densities is -3/2 (ln(2 pi 14/3) + 1)."""
    mean, variance, nats = climb(np.array([1.0, 2.0, 6.0]), 600)
    assert mean == pytest.approx(3, abs=1e-3)
    assert variance == pytest.approx(14 / 3, rel=1e-3)
    assert nats == pytest.approx(-1.5 * (np.log(2 * np.pi * 14 / 3) + 1), rel=1e-5)


@pytest.mark.weekly
@pytest.mark.covers("GE-01", "GE-02")
def test_the_density_of_digits_refuses_what_the_classifier_answers():
    result = study(climb_steps=5)
    numbers = result.numbers
    assert result.holds
    assert numbers["AUROC, p(x), shuffled pixels"] > numbers["AUROC, max p(y | x), logistic, shuffled pixels"] + 0.1
    assert numbers["accuracy, Bayes"] > 0.95
    assert numbers["product of the densities"] == 0
    assert np.isfinite(numbers["sum of their logarithms"])
