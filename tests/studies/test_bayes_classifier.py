"""Bayes' rule on densities of classes, the top of the likelihood, and the study on digits."""

import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.classic_ml.density import Gaussian
from experiments.studies import bayes_classifier
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


@pytest.mark.covers("GE-01", "GE-02")
def test_each_score_is_compared_under_its_own_name(monkeypatch):
    """p(x) is 0 on noise alone, Bayes unsure of shuffled digits alone, and the classifier of the digit left out."""
    images = {split: np.random.default_rng(i).random((40, 8, 8, 1)) for i, split in enumerate(("train", "test"))}
    labels = np.repeat(np.arange(10), 4)
    kinds = {}

    class Split:
        def __init__(self, split):
            self.arrays = {"image": images[split], "label": labels}

    def kind(x):
        """The test digits come first, then the outliers in their order, of the density and of the classifier each."""
        return kinds.setdefault(x.tobytes(), len(kinds))

    def asked(gaussians, log_prior, x):
        which, posterior = kind(x), np.full((len(x), 9), -5.0)
        posterior[:, 0] = -1 if which == 2 else -0.1
        return posterior, np.full(len(x), 0.0 if which == 1 else 1.0) + (which == 0) * 0.5

    def predict_probability(model, x):
        return np.eye(9)[np.zeros(len(x), int)] * (0.5 if kind(x) == 3 else 1 - 0.05 * (kind(x) > 0))

    monkeypatch.setattr(bayes_classifier, "digits", Split)
    monkeypatch.setattr(bayes_classifier, "class_densities", lambda *args: (None, None))
    monkeypatch.setattr(bayes_classifier, "ask", asked)
    monkeypatch.setattr(bayes_classifier, "climb", lambda x, steps: (x.mean(), x.var(), -5.0))
    monkeypatch.setattr(bayes_classifier, "draw", lambda *args: None)
    monkeypatch.setattr(bayes_classifier, "draw_samples", lambda *args: None)
    monkeypatch.setattr(bayes_classifier.logistic, "train", lambda x, label: None)
    monkeypatch.setattr(bayes_classifier.logistic, "predict_probability", predict_probability)
    numbers = study().numbers
    strange = ("noise", "shuffled pixels", "the digit 8")
    found = {name: [numbers[f"AUROC, {name}, {k}"] for k in strange]
             for name in ("p(x)", "max p(y | x), by Bayes", "max p(y | x), logistic")}  # fmt: skip
    assert found["p(x)"] == [1, 1, 1]
    assert found["max p(y | x), by Bayes"] == [0.5, 1, 0.5]
    assert found["max p(y | x), logistic"] == [1, 1, 1]
    assert [numbers[f"logistic is 90 % sure of {k}"] for k in strange] == [1, 1, 0]
    assert numbers["accuracy, Bayes"] == numbers["accuracy, logistic"] == pytest.approx(1 / 9)
    assert numbers["climbed mean - sample mean"] == pytest.approx(0, abs=1e-6)
