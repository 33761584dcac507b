"""Support vector machines: scikit-learn's goldens, two points by hand, the conditions of the optimum, and digits."""

import pathlib

import chex
import numpy as np
import pytest
from sklearn.svm import SVC

from dlcore.classic_ml.kernel_svm import decision, fit_binary, kernel_matrix, predict, train
from dlcore.data.digits import digits

GOLDENS = np.load(pathlib.Path(__file__).parents[1] / "goldens" / "ml_sklearn.npz")


@pytest.mark.parametrize(("case", "kernel"), [("svc.linear", "linear"), ("svc.rbf", "rbf")])
def test_decisions_are_scikit_learns(case, kernel):
    is_zero = (GOLDENS["data/y"] == 0).astype(int)
    model = train(GOLDENS["data/X"], is_zero, kernel=kernel, gamma=0.3, tolerance=1e-6)
    np.testing.assert_allclose(decision(model, GOLDENS["data/Xt"])[:, 0], GOLDENS[f"{case}/out.decision"], atol=2e-3)
    signs = np.sign(model.coefficients[0])
    np.testing.assert_array_equal([(signs < 0).sum(), (signs > 0).sum()], GOLDENS[f"{case}/out.n_support"])


def test_two_points_by_hand():
    # x = 0 and 2: the margin lies at 1, f(x) = x - 1; w = 1 = 2 a, so a = 1/2 at both.
    found = fit_binary(kernel_matrix([[0.0], [2.0]], [[0.0], [2.0]], "linear"), [-1, 1], 10.0)
    np.testing.assert_allclose(found.coefficients, [-0.5, 0.5])
    assert found.bias == pytest.approx(-1)
    # Both multipliers stop at c = .1: biases of -1 and 1 - .1 * 4 = .6 would suit the two, the mean is -.2.
    bound = fit_binary(kernel_matrix([[0.0], [2.0]], [[0.0], [2.0]], "linear"), [-1, 1], 0.1)
    np.testing.assert_allclose(bound.coefficients, [-0.1, 0.1])
    assert bound.bias == pytest.approx(-0.2)
    assert kernel_matrix([[1.0, 2.0]], [[3.0, 1.0]], "polynomial", 0.5, 2)[0, 0] == (0.5 * 5 + 1) ** 2
    assert kernel_matrix([[1.0, 2.0]], [[3.0, 1.0]], "rbf", 0.5)[0, 0] == pytest.approx(np.exp(-2.5))


@pytest.mark.parametrize("c", [0.1, 1.0, 100.0])
def test_the_conditions_of_the_optimum(c):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 2))
    sign = np.where(np.linalg.norm(x, axis=1) + 0.2 * rng.normal(size=40) > 1.1, 1, -1)
    gram = kernel_matrix(x, x, "rbf", 0.7)
    found = fit_binary(gram, sign, c, tolerance=1e-6)
    a = np.zeros(40)
    a[found.support] = found.coefficients * sign[found.support]
    assert (a * sign).sum() == pytest.approx(0, abs=1e-9)
    assert ((a >= 0) & (a <= c)).all()
    margin = sign * (gram @ (a * sign) + found.bias)
    assert (margin[a == 0] >= 1 - 1e-5).all()
    assert (margin[a == c] <= 1 + 1e-5).all()
    np.testing.assert_allclose(margin[(a > 0) & (a < c)], 1, atol=1e-5)


def test_a_polynomial_of_two_classes_is_scikit_learns():
    """The scale is 1 over the number of columns times the variance, as theirs; (gamma x.y + 1)^3."""
    rng = np.random.default_rng(0)
    x, y = 2 * rng.normal(size=(30, 3)) + 1, rng.permutation(np.repeat([5, 9], 15))
    model = train(x, y, kernel="polynomial", c=0.7, tolerance=1e-8)
    theirs = SVC(kernel="poly", C=0.7, gamma="scale", coef0=1, degree=3, tol=1e-8).fit(x, y)
    assert (model.degree, model.gamma) == (3, pytest.approx(1 / (3 * x.var())))
    np.testing.assert_allclose(decision(model, x)[:, 0], theirs.decision_function(x), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(predict(model, x), theirs.predict(x))
    assert train(np.ones((2, 4)), [0, 1]).gamma == 0.25  # nothing varies


def test_digits_of_ten_classes():
    data = [digits(split).arrays for split in ("train", "test")]
    (x, y), (new, truth) = ((d["image"][:400] / 16, d["label"][:400]) for d in data)
    model = train(x, y, c=10.0)
    answers = predict(model, new)
    chex.assert_shape(decision(model, new), (len(new), 10))
    theirs = SVC(C=10.0).fit(x.reshape(len(x), -1), y).score(new.reshape(len(new), -1), truth)
    assert (answers == truth).mean() >= theirs - 0.02


def test_errors():
    with pytest.raises(ValueError, match="only one class"):
        train(np.ones((3, 2)), [1, 1, 1])
