"""The linear classifier: shapes, the bias trick, losses against worked numbers and gradients against jax.grad."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore import losses
from dlcore.classic_ml import linear
from dlcore.classic_ml.linear import LOSSES, Linear


def problem(n=12, d=5, c=4, dtype=np.float64):
    rng = np.random.default_rng(0)
    w = Linear(rng.normal(size=(c, d)).astype(dtype), rng.normal(size=c).astype(dtype))
    return w, rng.normal(size=(n, d)).astype(dtype), rng.integers(0, c, n)


@pytest.mark.covers("DD-09")
def test_an_image_of_cifar_gets_ten_scores_from_30730_numbers():
    """10 · 3072 + 10."""
    w = Linear(jnp.ones((10, 3072)), jnp.arange(10.0))
    s = linear.scores(w, jnp.ones((1, 3072)))
    np.testing.assert_array_equal(s, [3072 + np.arange(10)])
    assert sum(leaf.size for leaf in jax.tree.leaves(w)) == 30_730


@pytest.mark.covers("DD-10")
def test_the_bias_can_be_a_column_of_the_weights():
    w, x, _ = problem()
    folded = linear.append_one(jnp.asarray(x)) @ linear.fold_bias(Linear(*map(jnp.asarray, w))).T
    chex.assert_shape(folded, (12, 4))
    np.testing.assert_allclose(folded, x @ w.weights.T + w.bias, atol=1e-6)


@pytest.mark.covers("DD-15", "DD-16")
def test_losses_are_worked_numbers():
    """Scores (3.2, 5.1, -1.7), class 0.

    hinge: 5.1 - 3.2 + 1 = 2.9, and 0; softmax: -3.2 + log(e^3.2 + e^5.1 + e^-1.7) = 2.0404; squared hinge:
    max(0, 1 - 3.2)² + (1 + 5.1)² + max(0, 1 - 1.7)² = 37.21; logistic: log(1 + e^-3.2) + log(1 + e^5.1) +
    log(1 + e^-1.7) = .0399 + 5.1061 + .1678.
    """
    s, y = jnp.array([[3.2, 5.1, -1.7]]), jnp.array([0])
    found = {name: float(loss(s, y)[0][0]) for name, loss in LOSSES.items()}
    assert found == pytest.approx(
        {"softmax": 2.0404, "logistic": 5.3138, "hinge": 2.9, "squared_hinge": 37.21}, abs=1e-4
    )


@pytest.mark.covers("DD-15", "DD-16")
def test_gradients_by_hand_are_jaxs():
    @jax.jit
    def run(w, x, label):
        found = {}
        for loss in LOSSES:
            value, gradient = linear.objective(w, x, label, loss, 0.3)
            expected = jax.grad(lambda w, loss=loss: linear.objective(w, x, label, loss, 0.3)[0])(w)
            found[loss] = value - linear.objective(w, x, label, loss, 0.0)[0], gradient, expected
        return found

    with jax.enable_x64(True):
        w, x, label = problem()
        for loss, (penalty, gradient, expected) in run(w, x, label).items():
            for ours, theirs in zip(gradient, expected, strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12, err_msg=loss)
            assert float(penalty) == pytest.approx(0.15 * (w.weights**2).sum()), loss  # the bias is free


@pytest.mark.slow
@pytest.mark.covers("DD-15")
def test_the_gradient_of_softmax_is_p_minus_onehot_times_x():
    w, x, label = problem(n=1, dtype=np.float32)
    s = x @ w.weights.T + w.bias
    p = np.exp(s) / np.exp(s).sum()
    gradient = linear.objective(w, jnp.asarray(x), label, "softmax", 0.0)[1]
    np.testing.assert_allclose(gradient.weights, np.outer(p - np.eye(4)[label], x), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.covers("DD-15", "DD-16")
def test_the_losses_of_a_batch_are_those_of_dlcore_losses():
    w, x, label = problem()
    s = jnp.asarray(x @ w.weights.T + w.bias)
    oracle = {"softmax": losses.softmax_cross_entropy_loss, "hinge": losses.multiclass_hinge_loss}
    for name, one in oracle.items():
        np.testing.assert_allclose(LOSSES[name](s, label)[0], one(s, jnp.asarray(label)), rtol=1e-5)
    np.testing.assert_allclose(
        LOSSES["logistic"](s, label)[0],
        optax.sigmoid_binary_cross_entropy(s, jax.nn.one_hot(label, 4)).sum(1),
        rtol=1e-5,
    )
