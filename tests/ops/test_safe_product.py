"""A logit of -inf (an action, a class or a token that is not allowed) costs nothing where it has probability 0."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import losses
from dlcore.classic_ml.linear import softmax_loss
from dlcore.nn.attention import attention_weights
from dlcore.ops import safe_product
from dlcore.rl.distributions import Categorical
from dlcore.rl.policy_gradient import policy_gradient_loss
from dlcore.rl.sac import soft_value
from dlcore.self_supervised.dino import dino_losses

LOG2 = np.log(2)
HALVES = jnp.array([0.0, 0, -jnp.inf])
"""softmax gives 1/2, 1/2 and 0; log softmax -log 2, -log 2 and -inf."""
TARGETS = jnp.array([0.25, 0.75, 0])
"""Its entropy is H = 1/4 log 4 + 3/4 log 4/3; KL(TARGETS || halves) = log 2 - H."""
H = 0.25 * np.log(4) + 0.75 * np.log(4 / 3)
Q = jnp.array([[[1.0, 2, 3]]] * 2)


def value(s, alpha=0.5):
    log_p = jax.nn.log_softmax(s)[None]
    return soft_value(Q, log_p, alpha, jnp.exp(log_p))[0]


CASES = {
    "soft_value": (value, 1.5 + 0.5 * LOG2),  # (1 + 2) / 2 + alpha H
    "soft_value at temperature 0": (lambda s: value(s, 0.0), 1.5),
    "soft_value of impossible actions": (
        lambda s: soft_value(Q + s, jax.nn.log_softmax(s)[None], 0.5, jax.nn.softmax(s)[None])[0],
        1.5 + 0.5 * LOG2,
    ),
    "Categorical.entropy": (lambda s: Categorical(s).entropy(), LOG2),
    "Categorical.log_prob": (lambda s: Categorical(s).log_prob(jnp.array(1)), -LOG2),
    "entropy_loss": (losses.entropy_loss, LOG2),
    "kl_divergence_loss": (lambda s: losses.kl_divergence_loss(s, TARGETS), LOG2 - H),
    "distillation_loss": (lambda s: losses.distillation_loss(s, jnp.log(TARGETS), 1.0), LOG2 - H),
    "consistency_loss": (lambda s: losses.consistency_loss(s, jnp.log(TARGETS), 1.0, 0.5), LOG2 - H),
    "softmax_cross_entropy_loss": (lambda s: losses.softmax_cross_entropy_loss(s, TARGETS), LOG2),
    "softmax_cross_entropy_loss of a class that weighs nothing": (
        lambda s: losses.softmax_cross_entropy_loss(s, jnp.array(2), class_weights=jnp.array([1.0, 1, 0])),
        0,
    ),
    "binary_cross_entropy_loss": (lambda s: losses.binary_cross_entropy_loss(s, jnp.array([1.0, 0, 0])), 2 * LOG2),
    # gamma = 1, alpha = None: two questions of p = 1/2 cost 1/2 log 2 each.
    "sigmoid_focal_loss": (lambda s: losses.sigmoid_focal_loss(s, jnp.array([1.0, 0, 0]), None, 1.0), LOG2),
    "generalized_cross_entropy_loss at q = 0": (
        lambda s: losses.generalized_cross_entropy_loss(s, jnp.array(0), 0.0),
        LOG2,
    ),
    "forward_corrected_loss": (lambda s: losses.forward_corrected_loss(s, jnp.array(0), jnp.eye(3)), LOG2),
    "softmax_loss": (lambda s: softmax_loss(s[None], jnp.array([0]))[0][0], LOG2),
    # Two crops of the same logits: each of the pairs of different crops costs log 2; the entropy is log 2.
    "dino_losses": (
        lambda s: dino_losses(s[None, None].repeat(2, 0), s[None, None].repeat(2, 0), 0 * TARGETS, 1.0, 1.0)[0][0],
        LOG2,
    ),
    "entropy of dino_losses": (
        lambda s: dino_losses(s[None, None].repeat(2, 0), s[None, None].repeat(2, 0), 0 * TARGETS, 1.0, 1.0)[1][0],
        LOG2,
    ),
    # An action of probability 0 that weighs nothing.
    "policy_gradient_loss": (lambda s: policy_gradient_loss(jax.nn.log_softmax(s), jnp.array([1.0, 2, 0])), 3 * LOG2),
}


@pytest.mark.parametrize("name", CASES)
def test_a_logit_of_minus_infinity_costs_nothing(name):
    function, expected = CASES[name]
    value, gradient = jax.jit(jax.value_and_grad(function))(HALVES)
    assert float(value) == pytest.approx(expected, rel=1e-6, abs=1e-6)
    assert np.isfinite(gradient).all()
    assert gradient[2] == 0


def test_gradient_of_the_soft_value_by_hand():
    """dV/ds_a = p_a (q_a - alpha log p_a - V): 1/2 (1 - 3/2), 1/2 (2 - 3/2) and 0; the entropy is at its maximum."""
    np.testing.assert_allclose(jax.jit(jax.grad(value))(HALVES), [-0.25, 0.25, 0], atol=1e-6)


def test_products_by_hand():
    """0 times infinity is 0; what has weight, and NaN, stay."""
    weights, values = np.float32([0, 0, 2, 2, 0]), np.float32([-np.inf, 5, -np.inf, 5, np.nan])
    np.testing.assert_array_equal(jax.jit(safe_product)(weights, values), [0, 0, -np.inf, 10, np.nan])
    gradients = jax.jit(jax.grad(lambda w, v: safe_product(w, v).sum(), (0, 1)))(weights[:2], values[:2])
    np.testing.assert_array_equal(gradients, [[0, 5], [0, 0]])


def test_a_query_whose_keys_are_all_hidden_gets_their_mean():
    """The first of two queries may attend to no key, by a mask or by a bias of -inf; the second to the first key."""
    query = jnp.ones((2, 1, 4))
    bias = jnp.array([[[-jnp.inf, -jnp.inf], [0, -jnp.inf]]])

    def first_weight(query, hidden):
        weights = attention_weights(query, query, **hidden)
        return weights[0, :, 0].sum(), weights

    for hidden in ({"bias": bias}, {"mask": bias == 0}):
        (_, weights), gradient = jax.jit(jax.value_and_grad(first_weight, has_aux=True))(query, hidden)
        np.testing.assert_allclose(weights, [[[0.5, 0.5], [1, 0]]])
        assert np.isfinite(gradient).all()
