"""What a ring holds, and what is drawn from it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.rl.replay import Replay, Transition


def step(number, instances=2):
    x = jnp.full((instances, 3), number, jnp.float32) + jnp.arange(instances)[:, None] * 100
    scalar = jnp.full(instances, number, jnp.float32)
    return Transition(x, scalar.astype(jnp.int32), scalar, jnp.zeros(instances, bool), x + 0.5)


def written(size, numbers):
    """A buffer of `size` steps after these, and 600 steps drawn from it."""

    @jax.jit
    def run():
        replay = Replay.empty(step(0), size, 4)
        replay = jax.lax.scan(lambda replay, t: (replay.add(step(t)), None), replay, jnp.array(numbers))[0]
        return replay, replay.sample(jax.random.key(0), 600)

    return jax.device_get(run())


def test_the_last_steps_stay_and_the_oldest_go():
    replay, drawn = written(4, range(6))
    assert int(replay.written) == 6
    np.testing.assert_array_equal(replay.data.reward, [[4, 5, 2, 3]] * 2)
    assert set(np.unique(drawn.reward)) == {2, 3, 4, 5}
    np.testing.assert_array_equal(replay.data.next_observation, replay.data.observation + 0.5)


def test_only_what_was_written_is_drawn_and_all_of_it():
    _, drawn = written(8, range(1, 4))
    assert set(np.unique(drawn.reward)) == {1, 2, 3}
    assert {float(x) for x in np.unique(drawn.observation[:, 0] // 100)} == {0, 1}
    np.testing.assert_array_equal(drawn.next_observation, drawn.observation + 0.5)


def test_a_buffer_smaller_than_a_minibatch_is_refused():
    with pytest.raises(ValueError, match="buffer_size=4: 8 steps of 2 instances; allowed: at least minibatch_size=9"):
        Replay.empty(step(0), 4, 9)
