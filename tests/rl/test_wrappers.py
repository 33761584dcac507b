"""Environments made of others: what is hidden, stacked, repeated, cut off."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.rl.environments import Environment, Step, make
from dlcore.rl.wrappers import POSITIONS, mask_velocities, repeat_actions, stack_frames, time_limit


def counter(length=5):
    """Counts its steps; the action is the reward; episodes are over after `length` steps."""

    def reset(key):
        return jnp.zeros((), jnp.int32), jnp.zeros(1)

    def step(key, count, action):
        count = count + 1
        over = count == length
        shown = jnp.where(over, 0, count)
        out = Step(shown[None] * 1.0, action * 1.0, over, jnp.array(False), count[None] * 1.0)
        return shown.astype(jnp.int32), out

    return Environment("counter", reset, step, 2, (1,), length)


def steps(environment, actions):
    state, first = environment.reset(jax.random.key(0))
    outs = []
    for t, action in enumerate(actions):
        state, out = environment.step(jax.random.key(t), state, jnp.int32(action))
        outs.append(jax.tree.map(lambda x: np.asarray(x).tolist(), out))
    return np.asarray(first).tolist(), outs


def test_velocities_are_hidden():
    hidden, shown = mask_velocities(make("CartPole-v1")), make("CartPole-v1")
    key = jax.random.key(1)

    @jax.jit
    def run():
        (state, observation), (_, whole) = hidden.reset(key), shown.reset(key)
        outs = [environment.step(key, state, jnp.int32(1))[1].final_observation for environment in (hidden, shown)]
        return observation, whole, outs

    observation, whole, (out, full) = jax.device_get(run())
    np.testing.assert_array_equal(observation, whole[[0, 2]])
    np.testing.assert_array_equal(out, full[[0, 2]])
    assert hidden.observation_shape == (2,)
    with pytest.raises(ValueError, match="environment='Catch-bsuite': no velocities to hide are known"):
        mask_velocities(make("Catch-bsuite"))
    # Gymnasium's tables: the speeds are numbers 1 and 3 of CartPole, 2 of Pendulum, 4 and 5 of Acrobot, 1 of the cars.
    sizes = {"CartPole-v1": 4, "Pendulum-v1": 3, "Acrobot-v1": 6, "MountainCar-v0": 2, "MountainCarContinuous-v0": 2}
    assert {name: sorted(set(range(sizes[name])) - set(kept)) for name, kept in POSITIONS.items()} == {
        "CartPole-v1": [1, 3],
        "Pendulum-v1": [2],
        "Acrobot-v1": [4, 5],
        "MountainCar-v0": [1],
        "MountainCarContinuous-v0": [1],
    }


def test_of_stacked_frames_the_positions_of_each_stay():
    """Entries 0 and 2 of four, of three frames: 0, 2, 4, 6, 8, 10 of 12, whichever wrapper comes first."""
    stacked, key = stack_frames(make("CartPole-v1"), 3), jax.random.key(1)
    hidden = mask_velocities(stacked)
    assert hidden.observation_shape == (6,)
    other = stack_frames(mask_velocities(make("CartPole-v1")), 3)
    twice = mask_velocities(mask_velocities(make("CartPole-v1")))

    @jax.jit
    def run(actions):
        def play(environment):
            state, first = environment.reset(key)
            return first, jax.lax.scan(lambda state, action: environment.step(key, state, action), state, actions)[1]

        return play(hidden), play(other), stacked.reset(key)[1], twice.reset(key)[1]

    (observation, out), (_, other_out), whole, last = jax.device_get(run(np.int32([1, 0])))
    np.testing.assert_array_equal(observation, whole[::2])
    np.testing.assert_array_equal(out.observation, other_out.observation)
    np.testing.assert_array_equal(out.final_observation, other_out.final_observation)
    assert (out.observation[0] != out.observation[1]).any()
    np.testing.assert_array_equal(last, whole[[0, 2]])
    assert twice.observation_shape == (2,)


def test_time_cuts_an_episode_off_and_starts_the_next():
    _, outs = steps(time_limit(counter(5), 3), [1] * 7)
    assert [o.truncated for o in outs] == [False, False, True, False, False, True, False]
    assert not any(o.terminated for o in outs)
    assert [o.final_observation for o in outs] == [[1], [2], [3], [1], [2], [3], [1]]
    assert outs[2].observation == [0]
    assert time_limit(counter(5), 3).max_steps == 3


def test_an_episode_that_is_over_at_the_limit_is_not_cut_off():
    _, outs = steps(time_limit(counter(5), 5), [1] * 6)
    assert [o.terminated for o in outs] == [False] * 4 + [True, False]
    assert not any(o.truncated for o in outs)
    assert outs[5].final_observation == [1]


def test_a_step_and_a_restart_have_keys_of_their_own():
    """An environment that shows the numbers of its key."""

    def step(key, state, action):
        seen = jax.random.key_data(key)
        return state, Step(seen, jnp.float32(0), jnp.array(False), jnp.array(False), seen)

    shows = Environment("keys", lambda key: (jnp.int32(0), jax.random.key_data(key)), step, 2, (2,), 5)
    cut = time_limit(shows, 1)

    @jax.jit
    def run(key):
        out = cut.step(key, cut.reset(key)[0], jnp.int32(0))[1]
        return out, [jax.random.key_data(jax.random.fold_in(key, number)) for number in (0, 1)]

    out, (stepped, restarted) = run(jax.random.key(5))
    np.testing.assert_array_equal(out.final_observation, stepped)
    np.testing.assert_array_equal(out.observation, restarted)


def test_frames_are_stacked_and_begin_anew():
    first, outs = steps(stack_frames(counter(3), 2), [1] * 4)
    assert first == [0, 0]
    assert [o.observation for o in outs] == [[0, 1], [1, 2], [0, 0], [0, 1]]
    assert [o.final_observation for o in outs] == [[0, 1], [1, 2], [2, 3], [0, 1]]
    assert stack_frames(make("Breakout-MinAtar"), 2).observation_shape == (10, 10, 8)


def test_repeated_actions_sum_rewards_and_stop_at_the_end():
    _, outs = steps(repeat_actions(counter(5), 3), [1, 1, 1])
    assert [o.reward for o in outs] == [3, 2, 3]  # the second action meets the end after two steps
    assert [o.terminated for o in outs] == [False, True, False]
    assert [o.final_observation for o in outs] == [[3], [5], [3]]
    assert repeat_actions(counter(5), 3).max_steps == 2


def test_names_tell_the_wrappers_and_positions_stay_known():
    environment = time_limit(repeat_actions(make("CartPole-v1"), 4), 20)
    assert environment.name == "time_limit(repeat_actions(CartPole-v1, 4), 20)"
    hidden = mask_velocities(environment)
    assert (hidden.name, hidden.observation_shape) == (f"mask_velocities({environment.name})", (2,))
    assert stack_frames(hidden, 3).name == f"stack_frames({hidden.name}, 3)"
