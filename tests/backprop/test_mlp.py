"""Back-propagation by hand through a perceptron, against jax.grad and measured slopes."""

import itertools

import jax
import numpy as np
import optax
import pytest

from dlcore.backprop import mlp_gradients, mlp_loss, numerical_gradient, relative_error


def loss(layers, x, label):
    for w, b in layers[:-1]:
        x = jax.nn.sigmoid(x @ w + b)
    w, b = layers[-1]
    return optax.softmax_cross_entropy_with_integer_labels(x @ w + b, label).mean()


@pytest.mark.slow(only=["widths0"])
@pytest.mark.covers("BP-08")
@pytest.mark.parametrize("widths", [(3, 4), (3, 5, 4), (3, 6, 5, 4)])
def test_gradients_by_hand_are_jaxs(widths):
    rng = np.random.default_rng(len(widths))
    layers = [(rng.normal(size=(a, b)), rng.normal(size=b)) for a, b in itertools.pairwise(widths)]
    x, label = rng.normal(size=(7, 3)), rng.integers(0, 4, 7)
    got = mlp_gradients(layers, x, label)
    with jax.enable_x64(True):
        value, want = jax.jit(jax.value_and_grad(loss))(layers, x, label)
    assert mlp_loss(layers, x, label) == pytest.approx(float(value), rel=1e-9)
    for pair, expected in zip(got, want, strict=True):
        for ours, theirs in zip(pair, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-12)
    measured = numerical_gradient(lambda b: mlp_loss([(layers[0][0], b), *layers[1:]], x, label), layers[0][1])
    assert relative_error(got[0][1], measured) < 1e-6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], np.ones((7, 3)), np.zeros(7, int)), r"layers=\[\]: none; allowed: at least one"),
    ],
)
def test_bad_input_is_named(arguments, message):
    for function in (mlp_loss, mlp_gradients):
        with pytest.raises(ValueError, match=message):
            function(*arguments)
