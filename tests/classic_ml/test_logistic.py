"""Logistic regression: sigmoid and softmax, scikit-learn's solution, separable classes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.classic_ml import logistic


@pytest.mark.covers("DD-14")
def test_the_sigmoid_is_a_softmax_with_one_score_fixed_at_zero():
    with jax.enable_x64(True):
        z = jnp.linspace(-40, 40, 401)
        two = jax.nn.softmax(jnp.stack([z, jnp.zeros_like(z)], 1))[:, 0]
        np.testing.assert_allclose(jax.nn.sigmoid(z), two, rtol=1e-12)


@pytest.mark.covers("DD-14")
@pytest.mark.parametrize("l2", [0.01, 1.0, 30.0])
def test_two_classes_are_scikit_learns(l2):
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    x, label = rng.normal(size=(80, 3)) * 2 + 1, np.where(rng.random(80) < 0.4, 7, 2)
    x[:, 0] += 1.5 * (label == 7)
    oracle = LogisticRegression(C=1 / l2, tol=1e-12, solver="newton-cholesky").fit(x, label)
    model = logistic.train(x, label, l2=l2)
    np.testing.assert_allclose(model.weights, oracle.coef_, rtol=1e-7)
    np.testing.assert_allclose(model.bias, oracle.intercept_, rtol=1e-7)
    np.testing.assert_allclose(logistic.predict_probability(model, x), oracle.predict_proba(x), rtol=1e-7)
    np.testing.assert_array_equal(logistic.predict(model, x), oracle.predict(x))


@pytest.mark.covers("DD-14")
def test_more_classes_are_asked_one_against_the_rest():
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    rng = np.random.default_rng(1)
    label = rng.integers(0, 3, 90)
    x = rng.normal(size=(90, 2)) + 2 * np.stack([np.cos(2 * label), np.sin(2 * label)], 1)
    oracle = OneVsRestClassifier(LogisticRegression(tol=1e-12, solver="newton-cholesky")).fit(x, label)
    model = logistic.train(x, label)
    np.testing.assert_allclose(logistic.predict_probability(model, x), oracle.predict_proba(x), rtol=1e-7)


def test_far_apart_classes_do_not_overflow():
    x = np.array([[-1000.0], [-999], [999], [1000]])
    model = logistic.train(x, np.array([0, 0, 1, 1]), l2=1e-6)
    assert np.isfinite(model.weights).all()
    np.testing.assert_array_equal(logistic.predict(model, x), [0, 0, 1, 1])


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"labels=\[1\]: only one class"):
        logistic.train(np.eye(2), np.array([1, 1]), l2=1.0)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
@pytest.mark.parametrize(("offset", "scale"), [(1e4, 1), (1e6, 1), (0, 1e4), (1e4, 1e-4)])
def test_an_offset_and_a_scale_leave_scikit_learns_solution(offset, scale, dtype):
    """A year with a deviation of 20, and one that is no whole number where the scale is small."""
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    year = rng.normal(0, 20, (300, 1))
    label = (year[:, 0] + 10 * rng.normal(size=300) > 0).astype(int)
    x = ((year + offset) * (scale if dtype != np.int64 or scale > 1 else 1)).astype(dtype)
    away = x.astype(np.float64) - x.mean(dtype=np.float64)
    theirs = LogisticRegression(solver="newton-cholesky", tol=1e-12, max_iter=1000).fit(away, label)
    model = logistic.train(x, label)
    np.testing.assert_allclose(model.weights, theirs.coef_, rtol=1e-4)
    np.testing.assert_allclose(logistic.predict_probability(model, x), theirs.predict_proba(away), atol=2e-3)
    w = logistic.fit_binary(x, label, 1.0)
    np.testing.assert_allclose(w[:1], theirs.coef_[0], rtol=1e-4)


def test_a_column_that_is_the_sum_of_others_gives_numbers():
    x = 1e4 + np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    model = logistic.train(np.c_[x, x.sum(1)], (x[:, 0] > 1e4).astype(int))
    assert np.isfinite(model.weights).all()
    assert (logistic.predict(model, np.c_[x, x.sum(1)]) == (x[:, 0] > 1e4)).mean() > 0.9
