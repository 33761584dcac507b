"""Gaussian naive Bayes against scikit-learn's."""

import pathlib

import numpy as np
import pytest

from dlcore.classic_ml import naive_bayes

GOLDENS = np.load(pathlib.Path(__file__).parents[1] / "goldens" / "ml_sklearn.npz")


def test_probabilities_are_scikit_learns():
    model = naive_bayes.train(GOLDENS["data/X"], GOLDENS["data/y"])
    np.testing.assert_allclose(model.mean, GOLDENS["gaussian_nb/out.theta"], rtol=1e-10)
    np.testing.assert_allclose(model.variance, GOLDENS["gaussian_nb/out.var"], rtol=1e-10)
    probability = np.exp(naive_bayes.predict_log_probability(model, GOLDENS["data/Xt"]))
    np.testing.assert_allclose(probability, GOLDENS["gaussian_nb/out.prob"], rtol=1e-8)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="smoothing=0: too small for a pixel that is constant in a class"):
        naive_bayes.train(np.eye(2), np.arange(2), smoothing=0)


def test_classes_far_from_each_other_are_scikit_learns():
    """Three classes of deviation 1e-3 at -1e7, 1e7 and beside it: products of matrices would cancel to noise."""
    from sklearn.naive_bayes import GaussianNB

    label = np.repeat([0, 1, 2], 20)
    x = np.array([-1e7, 1e7, 1e7 + 0.003])[label, None] + np.random.default_rng(0).normal(0, 1e-3, (60, 2))
    model = naive_bayes.train(x, label, smoothing=0)
    theirs = GaussianNB(var_smoothing=0).fit(x, label)
    found = np.exp(naive_bayes.predict_log_probability(model, x))
    np.testing.assert_allclose(found, theirs.predict_proba(x), atol=1e-4)
