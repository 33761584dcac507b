"""The gradient against a bandit whose gradient is known, and what a baseline does to its noise."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.rl.policy_gradient import leave_one_out_mean, policy_gradient_loss, returns_to_go, score_weights

LOGITS = np.float32([0.2, -0.5, 0.9])
REWARDS = np.float32([1.0, 3.0, 2.0])


@functools.cache
def estimates(kind):
    return np.asarray(jax.jit(draw_estimates, static_argnums=0)(kind))


def draw_estimates(kind, pulls=20_000, groups=8):
    """Estimates of -grad J, [pulls, 3], of a bandit with three arms: episodes of one step, in groups of eight."""
    actions = jax.random.categorical(jax.random.key(0), LOGITS, shape=(pulls,))
    rewards = 10 + jnp.asarray(REWARDS)[actions][:, None]  # an offset that says nothing about the arms
    weights = jax.vmap(lambda r: score_weights(r, kind))(rewards.reshape(-1, groups, 1)).reshape(-1, 1)

    def gradient(action, weight):
        return jax.grad(lambda s: policy_gradient_loss(jax.nn.log_softmax(s)[action][None], weight))(LOGITS)

    return jax.vmap(gradient)(actions, weights)


@pytest.mark.slow(only=["return"])
@pytest.mark.covers("RL-06")
@pytest.mark.parametrize("kind", ["return", "to_go", "baseline"])
def test_the_mean_is_the_analytic_gradient(kind):
    """J = sum_a p_a r_a, so dJ/ds_k = p_k (r_k - J)."""
    p = np.exp(LOGITS) / np.exp(LOGITS).sum()
    expected = p * (REWARDS - p @ REWARDS)
    gradients = -estimates(kind)
    error = gradients.std(0) / np.sqrt(len(gradients))
    assert (np.abs(gradients.mean(0) - expected) < 4 * error).all()
    assert np.abs(expected).min() > 5 * error.max() or kind != "baseline"


@pytest.mark.covers("RL-10")
def test_a_baseline_lowers_the_variance_and_keeps_the_mean():
    plain, less = estimates("to_go"), estimates("baseline")
    assert less.var(0).sum() < 0.05 * plain.var(0).sum()
    error = np.sqrt(plain.var(0) / len(plain))
    assert (np.abs(plain.mean(0) - less.mean(0)) < 4 * error).all()


def test_returns_by_hand():
    # rewards 1, 2, 4 with gamma 1/2: 1 + 1 + 1, 0 + 1 + 1, 1
    np.testing.assert_allclose(returns_to_go(jnp.array([1.0, 2.0, 4.0]), 0.5), [3, 2, 1])
    np.testing.assert_allclose(score_weights(jnp.array([[1.0, 2.0, 4.0]]), "return", 0.5), [[3, 3, 3]])


def test_leave_one_out_by_hand():
    np.testing.assert_allclose(leave_one_out_mean(jnp.array([1.0, 2.0, 6.0])), [4, 3.5, 1.5])
    np.testing.assert_allclose(
        score_weights(jnp.array([[1.0, 2.0], [3.0, 4.0]]), "baseline"), [[3 - 7, 2 - 4], [7 - 3, 4 - 2]]
    )


def test_no_gradient_through_the_weights_and_none_after_the_end():
    def loss(x):
        return policy_gradient_loss(x, 2 * x, jnp.array([1.0, 0.0]))

    np.testing.assert_allclose(jax.grad(loss)(jnp.array([3.0, 5.0])), [-6, 0])


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="1 row"):
        leave_one_out_mean(jnp.ones((1, 3)))


def test_losses_of_bytes_do_not_wrap():
    """-(1 x 3 + 2 x 4)."""
    assert float(policy_gradient_loss(np.array([1, 2], np.uint8), np.array([3, 4], np.uint8))) == -11
