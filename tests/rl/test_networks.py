"""Shapes and first outputs of the networks over observations."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.rl.networks import ActorCritic, QNetwork


@pytest.mark.parametrize("shape", [(4,), (10, 10, 4)])
def test_shapes(shape):
    x = jnp.ones((3, *shape), jnp.float32)
    logits, value = ActorCritic(5).init_with_output(jax.random.key(0), x)[0]
    chex.assert_shape((logits, value), ((3, 5), (3,)))
    chex.assert_shape(QNetwork(5).init_with_output(jax.random.key(0), x)[0], (3, 5))


def test_the_first_policy_is_nearly_uniform():
    x = jax.random.normal(jax.random.key(1), (64, 4))
    (logits, _), _ = ActorCritic(3).init_with_output(jax.random.key(0), x)
    np.testing.assert_allclose(jax.nn.softmax(logits), 1 / 3, atol=0.02)
