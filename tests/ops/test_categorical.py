"""Draws of categories: their frequencies in every type, temperatures down to 0, and what has no category."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.ops import sample_categorical


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_draws_follow_the_probabilities_in_every_type(dtype):
    """Of 250 equal categories the mean index is 124.5 with a deviation of 72 / sqrt(5000) = 1.02, and chi squared 249
    with one of 22."""
    draws = sample_categorical(jax.random.key(0), jnp.zeros((5000, 250), dtype))
    assert draws.dtype == jnp.int32
    assert float(draws.mean()) == pytest.approx(124.5, abs=4)
    counts = np.bincount(draws, minlength=250)
    assert np.square(counts - 20).sum() / 20 == pytest.approx(249, abs=80)


def test_at_temperature_zero_or_near_it_the_first_of_the_largest_is_taken():
    logits = jnp.array([-1.0, 3.0, 8.0, 8.0, -jnp.inf], jnp.float16)
    key, run = jax.random.key(0), jax.jit(sample_categorical)
    for temperature in (0, 0.0, np.float32(0), jnp.float32(0)):
        assert int(sample_categorical(key, logits, temperature)) == int(run(key, logits, temperature)) == 2
    for temperature in (1e-4, 1e-30, jnp.array(1e-3, jnp.float16)):
        draws = jax.vmap(run, (0, None, None))(jax.random.split(key, 200), logits, temperature)
        np.testing.assert_array_equal(np.unique(draws), [2, 3])
    rows = sample_categorical(key, jnp.stack([logits, -logits[::-1]])[:, 1:4], jnp.array([0.0, 0.0]))
    np.testing.assert_array_equal(rows, [1, 2])


def test_where_no_category_can_be_drawn_the_index_is_minus_one():
    logits = jnp.array([[0, jnp.nan, 1], [0, 1, 0], [-jnp.inf] * 3, [jnp.nan] * 3])
    for temperature in (0, 1e-9, 1e9):
        found = jax.jit(sample_categorical, static_argnums=2)(jax.random.key(0), logits, temperature)
        np.testing.assert_array_equal(found < 0, [True, False, True, True])
