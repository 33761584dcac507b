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
    with pytest.raises(ValueError, match="smoothing=-1: out of range; allowed: at least 0"):
        naive_bayes.train(np.eye(2), np.arange(2), smoothing=-1)
    with pytest.raises(ValueError, match="smoothing=0: too small for a pixel that is constant in a class"):
        naive_bayes.train(np.eye(2), np.arange(2), smoothing=0)
