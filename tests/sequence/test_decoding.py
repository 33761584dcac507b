"""Greedy and drawn tokens, the stop token and the greatest length."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.sequence.decoding import generate, sample_token


def counting(carry, tokens):
    """The next token is one more than the last, modulo 5, beyond doubt."""
    return carry, 50.0 * jax.nn.one_hot((tokens + 1) % 5, 5)


def keys(n):
    return jax.vmap(lambda i: jax.random.fold_in(jax.random.key(0), i))(jnp.arange(n))


@pytest.mark.covers("SQ-07")
def test_temperature_zero_is_the_largest_logit_and_one_follows_the_softmax():
    logits = jnp.log(jnp.array([0.2, 0.5, 0.3]))
    draws = {t: np.asarray(jax.vmap(lambda k, t=t: sample_token(k, logits, t))(keys(2000))) for t in (0.0, 0.5, 1.0)}
    assert (draws[0.0] == 1).all()
    np.testing.assert_allclose(np.bincount(draws[1.0], minlength=3) / 2000, [0.2, 0.5, 0.3], atol=0.04)
    # At 1/2 probabilities are squared: 4, 25 and 9 of 38.
    np.testing.assert_allclose(np.bincount(draws[0.5], minlength=3) / 2000, np.array([4, 25, 9]) / 38, atol=0.04)


@pytest.mark.covers("SQ-14")
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_each_sequence_ends_with_its_stop_token_or_at_the_greatest_length(temperature):
    first = 50.0 * jax.nn.one_hot(jnp.array([2, 4, 0]), 5)
    tokens, length = generate(counting, (), first, keys(3), 4, temperature, stop_token=4)
    np.testing.assert_array_equal(tokens, [[2, 3, 4, 4], [4, 4, 4, 4], [0, 1, 2, 3]])
    np.testing.assert_array_equal(length, [3, 1, 4])
    tokens, length = generate(counting, (), first, keys(3), 6, temperature)
    np.testing.assert_array_equal(tokens[0], [2, 3, 4, 0, 1, 2])
    np.testing.assert_array_equal(length, 6)


@pytest.mark.covers("SQ-14")
def test_decoding_stops_once_all_have():
    def counted(carry, tokens):
        return carry + 1, counting((), tokens)[1]

    with jax.checking_leaks():
        seen = []

        def spy(carry, tokens):
            jax.debug.callback(lambda n: seen.append(int(n)), carry)
            return counted(carry, tokens)

        generate(spy, jnp.int32(0), 50.0 * jax.nn.one_hot(jnp.array([3, 4]), 5), keys(2), 100, 0.0, stop_token=4)
        jax.effects_barrier()
    assert max(seen) == 1


def test_a_sequence_does_not_depend_on_its_neighbors():
    def step(carry, tokens):
        return carry, jnp.ones((len(tokens), 5))

    start = jnp.ones((4, 5))
    together, _ = generate(step, (), start, keys(4), 8, jnp.array([1.0, 0.0, 2.0, 1.0]))
    alone, _ = generate(step, (), start[2:3], keys(4)[2:3], 8, 2.0)
    np.testing.assert_array_equal(together[2], alone[0])
    np.testing.assert_array_equal(together[1], 0)
    with pytest.raises(ValueError, match="max_length=0: too short"):
        generate(step, (), start, keys(4), 0)
