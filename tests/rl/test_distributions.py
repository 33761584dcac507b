"""Densities against scipy and by integration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from dlcore.rl.distributions import Categorical, DiagonalGaussian, TanhGaussian


def test_a_categorical_is_its_softmax():
    p = np.array([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]])

    @jax.jit
    def run(logits):
        found = Categorical(logits)
        drawn = jax.vmap(found.sample)(jax.random.split(jax.random.key(0), 20_000))
        return found.log_prob(jnp.array([1, 2])), found.entropy(), found.mode(), drawn

    log_prob, entropy, mode, drawn = jax.device_get(run(np.float32(np.log(p) + 3)))
    np.testing.assert_allclose(log_prob, np.log([0.5, 0.8]), rtol=1e-5)
    np.testing.assert_allclose(entropy, stats.entropy(p, axis=1), rtol=1e-5)
    np.testing.assert_array_equal(mode, [1, 2])
    np.testing.assert_allclose((drawn[:, 0, None] == np.arange(3)).mean(0), p[0], atol=0.012)


def test_a_diagonal_gaussian_is_scipy_s():
    mean, log_std, x = np.float32([[0.5, -1]]), np.float32([[0.3, -0.7]]), np.float32([[0.1, 0.2]])
    scale = np.exp(log_std)

    @jax.jit
    def run(mean, log_std):
        found = DiagonalGaussian(mean, log_std)
        drawn = jax.vmap(found.sample)(jax.random.split(jax.random.key(0), 20_000))[:, 0]
        return found.log_prob(x), found.entropy(), drawn

    log_prob, entropy, drawn = jax.device_get(run(mean, log_std))
    np.testing.assert_allclose(log_prob, stats.norm.logpdf(x, mean, scale).sum(-1), rtol=1e-5)
    np.testing.assert_allclose(entropy, stats.norm.entropy(mean, scale).sum(-1), rtol=1e-5)
    np.testing.assert_allclose(drawn.mean(0), mean[0], atol=0.03)
    np.testing.assert_allclose(drawn.std(0), scale[0], rtol=0.03)


@pytest.mark.slow
def test_a_squashed_gaussian_s_density_is_that_of_its_samples():
    found = TanhGaussian(jnp.array([0.3]), jnp.array([-0.2]))
    actions, log_prob = jax.vmap(found.sample_and_log_prob)(jax.random.split(jax.random.key(0), 40_000))
    u = np.arctanh(np.asarray(actions[:, 0], np.float64))
    inside = np.abs(actions[:, 0]) < 0.999
    by_hand = stats.norm.logpdf(u, 0.3, np.exp(-0.2)) - np.log1p(-np.square(np.asarray(actions[:, 0], np.float64)))
    np.testing.assert_allclose(log_prob[inside], by_hand[inside], rtol=2e-3, atol=2e-3)
    # The density integrates to 1: E[1 / p] over samples in an interval is its length.
    within = (actions[:, 0] > -0.5) & (actions[:, 0] < 0.7)
    assert (np.exp(-log_prob) * within).mean() == pytest.approx(1.2, rel=0.03)
    assert found.mode()[0] == pytest.approx(np.tanh(0.3))


def test_a_squashed_sample_comes_with_its_density():
    """p(a) = N(u; mu, sigma) / (1 - a^2) of each number, a = tanh(u); the density of a vector is the product."""
    mean, log_std = np.float32([[0.3, -0.5], [0.1, 0.8]]), np.float32([[-0.2, 0.1], [-1.0, -0.4]])
    found = TanhGaussian(mean, log_std)
    action, log_prob = (np.asarray(x, np.float64) for x in found.sample_and_log_prob(jax.random.key(0)))
    by_hand = stats.norm.logpdf(np.arctanh(action), mean, np.exp(log_std)) - np.log1p(-np.square(action))
    np.testing.assert_allclose(log_prob, by_hand.sum(-1), rtol=1e-4)
    np.testing.assert_allclose(found.sample(jax.random.key(0)), action, rtol=1e-6)
    np.testing.assert_allclose(found.mode(), np.tanh(mean), rtol=1e-6)


@pytest.mark.slow
def test_far_tails_stay_finite():
    found = TanhGaussian(jnp.array([30.0, -30.0]), jnp.array([0.0, 0.0]))

    def value(mean):
        return TanhGaussian(mean, found.log_std).sample_and_log_prob(jax.random.key(0))[1]

    number, slope = jax.value_and_grad(value)(found.mean)
    assert np.isfinite(number)
    # log(1 - tanh(u)^2) ~ log 4 - 2 |u|: the density at the sample grows by 2 a unit of u.
    np.testing.assert_allclose(slope, [2.0, -2.0], rtol=1e-4)


def test_all_means_may_share_their_deviations():
    mean, log_std = jnp.float32([[0.5, -1], [2, 0], [1, 1]]), jnp.float32([0.3, -0.7])
    shared, own = (DiagonalGaussian(mean, x) for x in (log_std, jnp.tile(log_std, (3, 1))))
    np.testing.assert_allclose(shared.entropy(), own.entropy())
    np.testing.assert_allclose(shared.log_prob(mean + 1), own.log_prob(mean + 1))
