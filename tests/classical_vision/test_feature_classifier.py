"""Concatenated features under a linear and a two-layer classifier."""

from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.classical_vision import feature_classifier
from dlcore.classical_vision.feature_classifier import choose_l2, concatenate, fit_classifier
from dlcore.classical_vision.hog import hog
from dlcore.data.digits import digits
from dlcore.losses import multiclass_hinge_loss


def points(count=90, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    return rng.normal(size=(count, 4)).astype(np.float32) + labels[:, None], labels


@pytest.mark.slow
@pytest.mark.covers("FE-04")
def test_the_linear_softmax_is_scikit_learns():
    from sklearn.linear_model import LogisticRegression

    x, y = points()
    found = fit_classifier(x, y, 3, l2=0.05, steps=100)
    z = (x - x.mean(0)) / x.std(0)
    theirs = LogisticRegression(C=1 / (0.05 * len(x)), tol=1e-8).fit(z, y)  # sum of losses + |W|^2 / 2C
    np.testing.assert_allclose(found.layers[0][0].T, theirs.coef_, atol=2e-3)
    np.testing.assert_allclose(jax.nn.softmax(found.scores(x)), theirs.predict_proba(z), atol=1e-3)
    assert np.diff(found.history).max() < 1e-6


@pytest.mark.slow
@pytest.mark.covers("FE-04")
def test_the_hinge_is_minimized():
    x, y = points()
    found = fit_classifier(x, y, 3, l2=0.05, loss="hinge", steps=150)

    def objective(w, b):
        z = (x - x.mean(0)) / x.std(0)
        return float(multiclass_hinge_loss(z @ w + b, jnp.asarray(y)).mean() + 0.025 * jnp.square(w).sum())

    (w, b), rng = found.layers[0], np.random.default_rng(1)
    least = objective(w, b)
    assert least < objective(0 * w, 0 * b) == pytest.approx(2)  # the two other classes, margin 1
    for _ in range(20):
        step = 0.05 * rng.normal(size=w.shape)
        assert objective(w + step, b) > least - 1e-3


@pytest.mark.weekly
@pytest.mark.covers("FE-04")
def test_features_together_beat_pixels_and_two_layers_learn_what_one_cannot():
    train, test = digits("train").arrays, digits("test").arrays

    def features(x):
        x = np.asarray(x)
        flat = x.reshape(len(x), -1)
        return concatenate(flat, hog(jax.image.resize(x, (len(x), 16, 16, 1), "bilinear"), 9, 4, 2))

    def accuracy(of):
        found = fit_classifier(of(train["image"]), train["label"], 10, l2=1e-2, steps=60)
        return (found.predict(of(test["image"])) == test["label"]).mean()

    chex.assert_shape(features(test["image"]), (500, 64 + 3 * 3 * 4 * 9))
    assert accuracy(features) > accuracy(lambda x: x.reshape(len(x), -1)) + 0.01
    # exclusive or
    x = np.random.default_rng(0).uniform(-1, 1, (200, 2))
    y = (x[:, 0] * x[:, 1] > 0).astype(int)
    right = [(fit_classifier(x, y, 2, hidden=h, l2=1e-4).predict(x) == y).mean() for h in (None, 16)]
    assert right[0] < 0.75 < 0.97 < right[1]


@pytest.mark.weekly
def test_the_decay_is_chosen_on_the_validation_split():
    x, y = points(60)
    noise = np.random.default_rng(1).normal(size=(60, 40)).astype(np.float32)  # many numbers that mean nothing
    wide = concatenate(x, noise)
    valid = points(200, seed=2)
    valid = (concatenate(valid[0], np.random.default_rng(3).normal(size=(200, 40))), valid[1])
    classifier, l2, accuracy = choose_l2((wide, y), valid, 3, (1e-6, 0.3), steps=60)
    assert l2 == 0.3 == max(accuracy, key=accuracy.get)
    assert accuracy[0.3] == (classifier.predict(valid[0]) == valid[1]).mean()
    assert choose_l2((x, y), (x, y), 3, (0.1,), steps=5)[1] == 0.1


@pytest.mark.covers("FE-04")
def test_a_classifier_fits_standardized_features_from_even_scores(monkeypatch):
    """The last layer starts at 0, a hidden one at the deviation sqrt(2 / D)."""
    calls = []

    def fit(*given):
        calls.append(given)
        weights = (jnp.array([[1.0, -1], [0, 1]]), jnp.array([0, 0.5]))
        return (weights,), jnp.zeros(1)

    monkeypatch.setattr(feature_classifier, "_fit", fit)
    x, y = np.float32([[1, 10], [3, 30]]), np.array([1, 0])
    found = fit_classifier(x, y, 2, l2=0.25, loss="hinge", steps=7)
    standardized, labels, ((weights, bias),), *settings = calls[0]
    np.testing.assert_allclose(standardized, [[-1, -1], [1, 1]], rtol=1e-5)
    np.testing.assert_array_equal(labels, y)
    assert settings == [0.25, "hinge", 7]
    np.testing.assert_array_equal(weights, np.zeros((2, 2)))
    np.testing.assert_array_equal(bias, np.zeros(2))
    # (2, 40) is (0, 2): scores 0 + 0 and 2 + .5.
    np.testing.assert_allclose(found.scores([[2, 40], [3, 20]]), [[0, 2.5], [1, -0.5]], atol=1e-5)
    assert found.predict([[2, 40], [3, 20]]).tolist() == [1, 0]
    fit_classifier(np.tile(x, (1, 25)), y, 3, hidden=400)
    (first, none), (last, _) = calls[1][2]
    assert (first.shape, last.shape) == ((50, 400), (400, 3))
    assert first.std() == pytest.approx((2 / 50) ** 0.5, rel=0.03)
    assert not none.any()
    assert not last.any()
    assert calls[1][3:] == (1e-4, "softmax", 200)
    fit_classifier(x, y, 2, hidden=1, steps=1, l2=0)
    assert calls[2][3:] == (0, "softmax", 1)


@pytest.mark.covers("FE-04")
def test_the_objective_is_the_mean_loss_and_half_the_squared_weights(monkeypatch):
    """One ReLU unit of x = 2 and -3 with w = (1.5; 1, -1) and b = (.5; 0, 1): h = 3.5, 0; scores (3.5, -2.5), (0, 1).

    For the classes (1, 0) the hinge is 1 + 6 and 1 + 1. One step of SGD at 1 stands in for those of L-BFGS.
    """
    plain = SimpleNamespace(
        lbfgs=lambda: optax.with_extra_args_support(optax.sgd(1.0)),
        value_and_grad_from_state=lambda f: lambda layers, state: jax.value_and_grad(f)(layers),
        apply_updates=optax.apply_updates,
    )
    monkeypatch.setattr(feature_classifier, "optax", plain)
    layers = (np.float32([[1.5]]), np.float32([0.5])), (np.float32([[1, -1]]), np.float32([0, 1]))
    x, labels, l2 = np.float32([[2], [-3]]), np.array([1, 0]), 0.4
    fit = jax.jit(feature_classifier._fit.__wrapped__, static_argnums=(4, 5))
    penalty = l2 / 2 * (1.5**2 + 1 + 1)
    (_, (weights, bias)), history = fit(x, labels, layers, l2, "softmax", 1)
    losses = np.log1p(np.exp([6.0, 1]))
    np.testing.assert_allclose(history, [losses.mean() + penalty], rtol=1e-5)
    # The slope of the first score is p - (0, 1): sigmoid(6) and sigmoid(-1) - 1.
    slopes = np.array([1 / (1 + np.exp(-6)), 1 / (1 + np.exp(1)) - 1])
    np.testing.assert_allclose(bias, [-slopes.mean(), 1 + slopes.mean()], rtol=1e-4)
    slope = 3.5 * slopes[0] / 2
    np.testing.assert_allclose(weights, [[1 - slope - l2, -1 + slope + l2]], rtol=1e-4)
    _, history = fit(x, labels, layers, l2, "hinge", 1)
    np.testing.assert_allclose(history, [(7 + 2) / 2 + penalty], rtol=1e-5)


def test_of_equally_good_penalties_the_largest_is_chosen(monkeypatch):
    """Of four examples .1 knows three, as .01 does, and .001 two."""
    right = {0.1: [0, 1, 1, 1], 0.01: [0, 1, 1, 1], 0.001: [0, 0, 1, 1]}

    def fit(features, labels, num_classes, *, l2, steps):
        assert (features, labels, num_classes, steps) == ("x", "y", 3, 5)
        return SimpleNamespace(predict=lambda valid: np.array(right[l2]), l2=l2)

    monkeypatch.setattr(feature_classifier, "fit_classifier", fit)
    best, l2, accuracy = choose_l2(("x", "y"), ("v", [0, 1, 1, 0]), 3, (0.01, 0.1, 0.001), steps=5)
    assert (best.l2, l2, accuracy) == (0.1, 0.1, {0.1: 0.75, 0.01: 0.75, 0.001: 0.5})


def test_features_stand_beside_each_other_in_rows():
    joined = concatenate(np.arange(4).reshape(2, 2, 1), np.array([[7], [8]]))
    np.testing.assert_array_equal(joined, [[0, 1, 7], [2, 3, 8]])
    assert joined.dtype == np.float32
