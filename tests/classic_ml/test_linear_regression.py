"""Least squares in closed form and by momentum, against scikit-learn and each other."""

import pathlib

import numpy as np
import pytest

from dlcore.classic_ml.elastic_net import elastic_net, lasso
from dlcore.classic_ml.linear_regression import least_squares, momentum_regression

GOLDENS = np.load(pathlib.Path(__file__).parents[1] / "goldens" / "ml_sklearn.npz")


@pytest.mark.parametrize(("case", "l2"), [("ols", 0.0), ("ridge", 1.0)])
def test_closed_forms_are_scikit_learns(case, l2):
    w, b = least_squares(GOLDENS["data/X"], GOLDENS[f"{case}/in.target"], l2)
    np.testing.assert_allclose(w, GOLDENS[f"{case}/out.coef"], rtol=1e-8)
    assert b == pytest.approx(float(GOLDENS[f"{case}/out.intercept"]), rel=1e-8)
    np.testing.assert_allclose(GOLDENS["data/Xt"] @ w + b, GOLDENS[f"{case}/out.pred"], rtol=1e-8)


@pytest.mark.slow
@pytest.mark.covers("DD-22")
def test_momentum_converges_to_least_squares():
    x, y = GOLDENS["data/X"], GOLDENS["ols/in.target"]
    x = (x - x.mean(0)) / x.std(0)
    w, b = least_squares(x, y)
    got, bias, errors = momentum_regression(x, y, learning_rate=0.005, steps=20_000, batch_size=60)
    np.testing.assert_allclose([*got, bias], [*w, b], atol=1e-3)
    assert errors[-100:].mean() < errors[:100].mean()


@pytest.mark.covers("DD-22")
def test_without_noise_single_examples_find_the_line():
    x = np.random.default_rng(0).normal(size=(50, 3))
    w, b, _ = momentum_regression(x, x @ [2.0, -1, 0.5] + 3, steps=3000)
    np.testing.assert_allclose([*w, b], [2, -1, 0.5, 3], atol=1e-3)


@pytest.mark.covers("DD-22")
def test_two_steps_are_worked_numbers():
    """x = (2, 1), y = 3, rates .1 and .05, ρ = .5.

    v = 3 (2, 1) = (6, 3), w = (.6, .3); then y - w·x = 1.5, v = (3, 1.5) + 1.5 (2, 1) = (6, 3), w = (.9, .45).
    """
    w, b, errors = momentum_regression(np.array([[2.0]]), np.array([3.0]), learning_rate=0.1, momentum=0.5, steps=2)
    np.testing.assert_allclose([*w, b], [0.9, 0.45], rtol=1e-12)
    np.testing.assert_allclose(errors, [9, 2.25], rtol=1e-12)


def test_bad_input_is_refused():
    for bad in ({"momentum": 1}, {"momentum": -0.1}, {"learning_rate": 0}, {"learning_rate": np.inf}):
        name, value = next(iter(bad.items()))
        with pytest.raises(ValueError, match=f"{name}={value}: (out of range|not finite)"):
            momentum_regression(np.zeros((3, 2)), np.zeros(3), **bad)


@pytest.mark.parametrize(("case", "fit"), [("lasso", lasso), ("elasticnet", elastic_net)])
def test_few_weights_are_scikit_learns(case, fit):
    w, b = fit(GOLDENS["data/X"], GOLDENS[f"{case}/in.target"], 0.1)
    np.testing.assert_allclose(w, GOLDENS[f"{case}/out.coef"], rtol=1e-3, atol=1e-4)
    assert b == pytest.approx(float(GOLDENS[f"{case}/out.intercept"]), rel=1e-3, abs=1e-4)
    np.testing.assert_allclose(GOLDENS["data/Xt"] @ w + b, GOLDENS[f"{case}/out.pred"], rtol=1e-3, atol=1e-3)


def test_the_optimum_of_the_elastic_net_has_its_conditions():
    """x_d r / N = α (ρ sign w_d + (1 - ρ) w_d) where w_d is not 0, and at most α ρ elsewhere; ρ = 0 is ridge."""
    rng = np.random.default_rng(0)
    x, alpha, rho = rng.normal(size=(50, 8)) + 3, 0.3, 0.7
    y = x[:, 0] - 2 * x[:, 1] + rng.normal(size=50)
    w, b = elastic_net(x, y, alpha, rho)
    slope = (x - x.mean(0)).T @ (y - x @ w - b) / 50
    zero = w == 0
    assert 0 < zero.sum() < 8
    np.testing.assert_allclose(slope[~zero], alpha * (rho * np.sign(w) + (1 - rho) * w)[~zero], atol=1e-7)
    assert (np.abs(slope[zero]) <= alpha * rho).all()
    for got, want in zip(elastic_net(x, y, alpha, 0.0), least_squares(x, y, 50 * alpha), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6)
    most = np.abs((x - x.mean(0)).T @ (y - y.mean())).max() / 50
    assert not lasso(x, y, most * 1.0001)[0].any()
    assert lasso(x, y, most * 0.999)[0].any()
    # One pass over the coordinates is not the end of it; a generous tolerance ends there too.
    once = elastic_net(x, y, 0.1, 1.0, iterations=1)[0]
    assert not np.allclose(lasso(x, y, 0.1)[0], once, atol=1e-4)
    for few in ({"iterations": 1}, {"tolerance": 1e9}):
        np.testing.assert_array_equal(lasso(x, y, 0.1, **few)[0], once)
