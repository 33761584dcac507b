"""Moments of batches are those of all, and rewards keep their sign."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.rl.normalization import Moments, Normalizer


def test_moments_of_batches_are_those_of_all():
    x = np.random.default_rng(0).normal(3, 2, (60, 2)).astype(np.float32)
    moments = Moments.start((2,))
    for part in np.split(x, 6):
        moments = moments.update(jnp.asarray(part))
    np.testing.assert_allclose(moments.mean, x.mean(0), rtol=1e-4)
    np.testing.assert_allclose(moments.variance, x.var(0), rtol=1e-3)
    assert float(moments.count) > 60


def test_observations_are_standardized_and_rewards_scaled():
    rng = np.random.default_rng(1)
    observation = rng.normal(5, 3, (500, 2)).astype(np.float32)

    @jax.jit
    def run(observation):
        normalizer, done = Normalizer.start(observation, True, True), jnp.zeros(500, bool)
        seen = normalizer.normalize_obs(observation), normalizer.normalize_obs(jnp.array([1e6, -1e6]))
        normalizer = normalizer.update(observation, jnp.full(500, -4.0), done, 0.5)
        normalizer = normalizer.update(observation, jnp.full(500, -4.0), ~done, 0.5)
        rewards = normalizer.normalize_reward(jnp.array([99.0, -99, -4]))
        return seen, rewards, (normalizer.reward.mean, normalizer.reward.variance), normalizer.discounted

    (seen, far), rewards, moments, discounted = jax.device_get(run(observation))
    np.testing.assert_allclose(seen.mean(0), 0, atol=0.01)
    np.testing.assert_allclose(seen.std(0), 1, atol=0.01)
    np.testing.assert_array_equal(far, [10, -10])
    # The discounted returns are -4 for all, then -4 - 2 = -6: mean -5, variance 1. An ended episode starts from 0.
    np.testing.assert_allclose(moments, [-5, 1], rtol=1e-3)
    np.testing.assert_array_equal(discounted, 0)
    np.testing.assert_allclose(rewards, [10, -10, -4], rtol=1e-3)


def test_a_number_that_never_changed_is_divided_by_a_ten_thousandth():
    """The root of 0 + 1e-8: 3e-4 above the mean are 3, 1e-3 below it -10."""
    still = Moments(jnp.float32(5), jnp.float32(0.5), jnp.float32(0))
    normalizer = Normalizer(still.replace(mean=jnp.float32(0)), jnp.zeros(1), still)
    np.testing.assert_allclose(normalizer.normalize_obs(np.float32([3e-4, -1e-3])), [3, -10], rtol=1e-5)
    np.testing.assert_allclose(normalizer.normalize_reward(np.float32([3e-4, -1e-3])), [3, -10], rtol=1e-5)


def test_without_statistics_nothing_changes():
    x = jnp.array([[1.0, 2.0]])
    normalizer = Normalizer.start(x, False, False)
    np.testing.assert_array_equal(normalizer.normalize_obs(x), x)
    assert normalizer.normalize_reward(jnp.float32(7)) == 7


def test_a_small_deviation_far_from_0_is_found():
    """2,000 batches of 64 of 100 ± .01; the start weighs 1e-4 examples, at 100 from the mean.

    variance = .01^2 + 1e-4 (100^2 + 1) / 128000 = 1.078e-4, so the deviation is .01038.
    """
    x = 100 + 0.01 * jnp.where(jnp.arange(64) % 2, 1, -1)
    moments = jax.lax.fori_loop(0, 2000, lambda _, moments: moments.update(x), Moments.start(()))
    assert float(jnp.sqrt(moments.variance)) == pytest.approx(0.01038, rel=2e-3)
