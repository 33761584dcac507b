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
    observation = jnp.asarray(rng.normal(5, 3, (500, 2)), jnp.float32)
    normalizer = Normalizer.start(observation, True, True)
    seen = normalizer.normalize_obs(observation)
    np.testing.assert_allclose(seen.mean(0), 0, atol=0.01)
    np.testing.assert_allclose(seen.std(0), 1, atol=0.01)
    np.testing.assert_array_equal(normalizer.normalize_obs(jnp.array([1e6, -1e6])), [10, -10])
    done = jnp.zeros(500, bool)
    normalizer = normalizer.update(observation, jnp.full(500, -4.0), done, 0.5)
    normalizer = normalizer.update(observation, jnp.full(500, -4.0), ~done, 0.5)
    # The discounted returns are -4 for all, then -4 - 2 = -6: mean -5, variance 1. An ended episode starts from 0.
    np.testing.assert_allclose([normalizer.reward.mean, normalizer.reward.variance], [-5, 1], rtol=1e-3)
    np.testing.assert_array_equal(normalizer.discounted, 0)
    np.testing.assert_array_equal(normalizer.normalize_reward(jnp.array([99.0, -99])), [10, -10])
    assert float(normalizer.normalize_reward(jnp.float32(-4.0))) == np.float32(-4.0) or np.isclose(
        normalizer.normalize_reward(jnp.float32(-4.0)), -4.0, rtol=1e-3
    )


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
