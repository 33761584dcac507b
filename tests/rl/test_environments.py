"""Environments by gymnax: episodes end, restart, and are played to their end."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.rl.environments import (
    Environment,
    Step,
    check_environment,
    env_step,
    episodes,
    epsilon_greedy,
    make,
    random_actions,
    rollout_episode,
    start,
)
from dlcore.rl.model_based import pendulum_reward


def test_names_close_to_a_wrong_one_are_listed():
    with pytest.raises(ValueError, match="CartPole-v1"):
        make("CartPole")


@pytest.mark.parametrize("space", [SimpleNamespace(), SimpleNamespace(low=0.0, high=1.0, shape=(2, 2))])
def test_actions_that_are_neither_choices_nor_vectors(monkeypatch, space):
    monkeypatch.setattr("gymnax.make", lambda name: (SimpleNamespace(action_space=lambda params: space), None))
    with pytest.raises(ValueError, match=r"'CartPole-v1': actions are .*; allowed: discrete actions, and vectors"):
        make("CartPole-v1")


def test_state_and_observation_keep_their_types():
    environment = make("CartPole-v1")
    assert environment.num_actions == 2
    assert environment.observation_shape == (4,)
    assert environment.max_steps == 500
    assert not environment.endless, "the pole falls"
    key = jax.random.key(0)
    before = jax.eval_shape(environment.reset, key)
    after, out = jax.eval_shape(environment.step, key, before[0], jax.ShapeDtypeStruct((), jnp.int32))
    assert jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), before[0]) == jax.tree.map(
        lambda x: (x.shape, x.dtype, x.weak_type), after
    )
    assert (out.observation.shape, out.reward.dtype) == ((4,), jnp.float32)


def test_boards_are_bool_and_every_observation_is_of_the_first_s_type():
    environment = make("Breakout-MinAtar")
    state, observation = jax.eval_shape(environment.reset, jax.random.key(0))
    _, out = jax.eval_shape(environment.step, jax.random.key(0), state, jax.ShapeDtypeStruct((), jnp.int32))
    assert {x.dtype for x in (observation, out.observation, out.final_observation)} == {jnp.dtype(bool)}
    assert observation.shape == environment.observation_shape == (10, 10, 4)


def test_the_number_of_a_state_is_seen_as_one_hot():
    """FrozenLake's 16 states have no size: state 0, the first, is row 0 of the identity."""
    environment = make("FrozenLake-misc")
    assert environment.observation_shape == (16,)
    state, first = jax.jit(environment.reset)(jax.random.key(0))
    assert first.tolist() == [1.0] + [0.0] * 15
    _, out = jax.eval_shape(environment.step, jax.random.key(0), state, jax.ShapeDtypeStruct((), jnp.int32))
    for observation in (first, out.observation, out.final_observation):
        assert (observation.shape, observation.dtype) == ((16,), jnp.float32)


def test_actions_of_one_are_the_largest_torque():
    """Pendulum's torque is within 2 and adds 3 u dt / (m l^2) = 3 * 2 * .05 = .3 to its speed; beyond 1 it is cut.

    The reward is the one that planners know.
    """
    environment = make("Pendulum-v1")
    assert (environment.endless, environment.num_actions, environment.action_size) == (True, None, 1)
    assert (environment.action_low, environment.action_high) == (-2, 2)
    state, first = jax.jit(environment.reset)(jax.random.key(0))
    actions = jnp.array([[0.0], [1.0], [5.0], [-1.0], [0.5]])
    out = jax.jit(jax.vmap(lambda action: environment.step(jax.random.key(1), state, action)[1]))(actions)
    speed = out.observation[:, 2]
    np.testing.assert_allclose(pendulum_reward(first, actions, None), out.reward, rtol=1e-4)
    assert (speed - speed[0]).tolist() == pytest.approx([0, 0.3, 0.3, -0.3, 0.15], abs=1e-5)


def test_pushing_one_way_falls_and_starts_again():
    environment = make("CartPole-v1")
    state, _ = jax.jit(environment.reset)(jax.random.key(0))
    step = jax.jit(environment.step)
    for t in range(20):
        state, out = step(jax.random.key(t), state, jnp.int32(1))
        if out.terminated:
            break
    assert out.terminated
    assert not out.truncated
    assert abs(out.final_observation[2]) > 0.209  # the pole's angle at the end, beyond 12 degrees
    assert abs(out.observation[2]) < 0.06  # of the new episode
    assert state.time == 0


def test_play_counts_until_the_end_of_one_episode():
    environment = make("CartPole-v1")
    total, length = jax.jit(lambda k: rollout_episode(environment, lambda key, o: jnp.int32(1), k, 100))(
        jax.random.key(0)
    )
    assert total == length  # a reward of one a step
    assert 5 <= length <= 15


def test_a_share_of_actions_is_random():
    """At 0 every action is the best one, at 1 every action is random; random vectors fill [-1, 1]."""
    few, vectors = SimpleNamespace(num_actions=3, action_size=0), SimpleNamespace(num_actions=None, action_size=2)
    keys, values = jax.random.split(jax.random.key(0), 300), jnp.tile(jnp.array([0.0, 2, 1]), (300, 1))

    @jax.jit
    def run():
        choose = jax.vmap(lambda epsilon: epsilon_greedy(few, keys, values, epsilon))
        return choose(jnp.array([0, 1, 0.25])), random_actions(vectors, keys)

    (none, always, some), drawn = jax.device_get(run())
    assert set(none.tolist()) == {1}
    # Two thirds of the random ones are not the best: 2/3, and 1/6 of 300, with deviations of .03 and .02.
    assert abs((always != 1).mean() - 2 / 3) < 0.1
    assert abs((some != 1).mean() - 1 / 6) < 0.08
    assert drawn.shape == (300, 2)
    assert -1 <= drawn.min() < -0.95
    assert 0.95 < drawn.max() <= 1


def test_learners_state_the_actions_that_they_choose():
    few = SimpleNamespace(name="few", num_actions=3, action_size=0, endless=True)
    vectors = SimpleNamespace(name="vectors", num_actions=None, action_size=2, endless=False)
    check_environment(few, 0.5, "discrete")
    check_environment(vectors, 1.0, "continuous")
    for environment, actions, problem in (
        (few, "continuous", "environment='few': discrete actions; allowed: continuous actions"),
        (vectors, "discrete", "environment='vectors': continuous actions; allowed: discrete actions"),
        (few, "any", r"gamma=1\.0: no episode of few terminates; allowed: below 1"),
    ):
        with pytest.raises(ValueError, match=problem):
            check_environment(environment, 1.0, actions)


def paying(length: int) -> Environment:
    """Episodes of so many steps, whose reward is the action, and that show the number of steps done plus 3."""

    def step(key, time, action):
        seen = (time + 4) * jnp.ones(1)
        return time + 1, Step(seen, 1.0 * action, time + 1 >= length, jnp.array(False), seen)

    return Environment("paying", lambda key: (jnp.int32(0), 3 * jnp.ones(1)), step, 9, (1,), length + 2)


def test_lengths_and_counts_stay_int32_where_jax_has_64_bits():
    def play(rng, keys, index):
        state = start(paying(3), lambda key, seen: (), optax.identity(), rng, {"index": index})
        finished = env_step(paying(3), state, keys, index)[2]
        predict = episodes(paying(3), lambda state, seen: jnp.int32(1))[1]
        length = rollout_episode(paying(3), lambda key, seen: jnp.int32(1), rng, 5)[1]
        return length, finished.count, predict(state, {"index": index})["length"]

    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(0), 2)
        counts = jax.eval_shape(play, jax.random.key(0), keys, np.arange(2, dtype=np.int32))
    assert [count.dtype for count in counts] == [jnp.int32] * 3


def test_an_episode_is_played_for_each_example_with_the_policy_and_its_memory():
    """Actions 2 x seen: 6 + 8 + 10 = 24. With a memory from 5 on, which grows by what is seen: 8 + 12 + 17 = 37."""
    state = SimpleNamespace(rng=jax.random.key(0), factor=2)
    rows = {"index": np.arange(2), "mask": np.array([1, 0])}

    def remember(state, memory, seen):
        return memory + seen[0], (memory + seen[0]).astype(jnp.int32)

    for policy, total in (
        ((lambda state, seen: (state.factor * seen[0]).astype(jnp.int32),), 24),
        ((remember, lambda state: jnp.float32(state.factor + 3)), 37),
    ):
        evaluate, predict = episodes(paying(3), *policy)
        found, metrics = jax.jit(lambda: (predict(state, rows), evaluate(state, rows)))()
        np.testing.assert_array_equal(found["return"], [total] * 2)
        np.testing.assert_array_equal(found["length"], [3, 3])
        assert {name: (m.compute(), int(m.count)) for name, m in metrics.items()} == {
            "return": (total, 1), "length": (3, 1),
        }  # fmt: skip
