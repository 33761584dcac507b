"""The Hessian by hand, each arm, and the verdict."""

import jax
import numpy as np
import pytest

from experiments.studies import convexity as study


@pytest.mark.slow
@pytest.mark.covers("MI-02")
def test_the_hessian_of_softmax_regression_is_that_of_the_formula():
    """H = mean of (diag(p) - p p^T) (x) (x x^T): all its eigenvalues are those that the study measures."""
    values = study.eigenvalues("regression", 0, 3, 12)
    x, _ = (np.asarray(a, np.float64) for a in study.small_digits(12))
    params = study.start("regression", jax.random.key(0), 3)
    z = x @ np.asarray(params["layer0"]["kernel"], np.float64)
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    inputs = np.column_stack([x, np.ones(12)])
    hessian = np.mean([np.kron(np.outer(r, r), np.diag(q) - np.outer(q, q)) for r, q in zip(inputs, p, strict=True)], 0)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(hessian), atol=1e-5)
    assert values.min() > -1e-5


def test_the_network_has_a_tanh_and_the_regression_has_none():
    x = np.ones((1, 16), np.float32)
    layers = {
        "layer0": {"kernel": np.full((16, 2), 0.1, np.float32), "bias": np.array([0.0, 1.0], np.float32)},
        "layer1": {"kernel": np.eye(2, 10, dtype=np.float32), "bias": np.zeros(10, np.float32)},
    }
    # 16 * 0.1 = 1.6 into the first unit and 2.6 into the second.
    np.testing.assert_allclose(study.scores(layers, x)[0, :2], np.tanh([1.6, 2.6]), rtol=1e-5)
    np.testing.assert_allclose(study.scores({"layer0": layers["layer0"]}, x)[0], [1.6, 2.6], rtol=1e-5)


def test_no_segment_of_a_convex_loss_rises_above_its_line():
    assert study.greatest_height("regression", 0, 3, 12, 2) <= 1e-5


@pytest.mark.slow
@pytest.mark.covers("MI-02")
def test_a_hidden_layer_bends_the_loss_down():
    assert study.eigenvalues("network", 0, 2, 40).min() < -1e-4
    assert set(study.start("network", jax.random.key(0), 2)) == {"layer0", "layer1"}


@pytest.mark.covers("MI-02")
def test_the_verdict_turns_where_the_arms_are_swapped():
    convex, bent = (np.array([0.0, 1.0]), -0.1), (np.array([-0.2, 1.0]), 0.5)
    assert study.report({"regression": [convex], "network": [bent]}).holds
    assert not study.report({"regression": [bent], "network": [convex]}).holds
    assert not study.report({"regression": [(convex[0], 0.1)], "network": [bent]}).holds
    assert not study.report({"regression": [convex], "network": [(convex[0], 0.5)]}).holds
