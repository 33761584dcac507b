"""Discrete codes and their bound, against arithmetic by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.papers import binary_mnist

LOGITS, NOISE = jnp.array([0.0, jnp.log(3.0)]), jnp.array([2.0, 0.0])


@pytest.mark.parametrize("estimator", ["straight_through", "straight_through_gumbel"])
def test_a_draw_is_one_hot(estimator):
    """2 is more than log 3 = 1.1."""
    np.testing.assert_allclose(binary_mnist.relaxed_code(estimator, LOGITS, NOISE, 0.5), [1, 0], atol=1e-6)


def test_a_draw_has_the_gradient_of_the_probabilities():
    """p = (1/4, 3/4), and dp_0 / dlogit_0 = p_0 (1 - p_0) = 3/16."""

    def first(logits):
        return binary_mnist.relaxed_code("straight_through", logits, NOISE, 0.5)[0]

    np.testing.assert_allclose(jax.grad(first)(LOGITS), [3 / 16, -3 / 16], rtol=1e-5)


def test_softmax_of_logits_and_noise_at_the_temperature():
    """Scores (2, log 3) at 1/2: odds e^4 to 9."""
    code = binary_mnist.relaxed_code("gumbel_softmax", LOGITS, NOISE, 0.5)
    np.testing.assert_allclose(code[0], np.exp(4) / (np.exp(4) + 9), rtol=1e-5)


def test_bound_of_a_network_without_weights():
    """All logits 0: each of 784 pixels costs log 2, and the code is the prior, at no cost."""
    model = binary_mnist.DiscreteAutoencoder(3, 4)
    learner = binary_mnist.discrete_learner(model, "gumbel_softmax", 1e-3)
    batch = {"image": jnp.full((2, 28, 28, 1), 100, jnp.uint8), "index": jnp.arange(2)}
    state = learner.init(jax.random.key(0), batch)
    state = state.replace(params=jax.tree.map(jnp.zeros_like, state.params))
    np.testing.assert_allclose(learner.evaluate(state, batch)["nats"].compute(), 784 * np.log(2), rtol=1e-5)
