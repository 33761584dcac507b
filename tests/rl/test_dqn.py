"""The target by hand, what the buffer holds, and that the target network waits."""

import functools
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.data.source import Source
from dlcore.learner import Sum
from dlcore.optim import create_optimizer
from dlcore.rl import dqn, environments, networks, off_policy
from tests.rl.corridors import constant_reward, zeros_of


@functools.cache
def states(target_update_interval, learning_starts):
    """States after none, one and two updates of four steps each; a program compiled once."""
    learner = dqn.learner(
        model=networks.QNetwork(2, 8),
        optimizer=create_optimizer("sgd", 0.01),
        environment=environments.make("CartPole-v1"),
        num_steps=4,
        buffer_size=6,
        minibatch_size=8,
        target_update_interval=target_update_interval,
        learning_starts=learning_starts,
    )
    batch = Source.indices(3)[np.arange(3)]
    first, update = jax.jit(learner.init)(jax.random.key(0), batch), jax.jit(learner.update)
    second = update(first, batch)[0]
    return first, second, update(second, batch)[0]


@pytest.mark.covers("RL-05")
@pytest.mark.parametrize(
    ("double", "terminated", "expected"),
    [
        (False, False, 1 + 0.9 * 5.0),  # the target network's own largest value
        (True, False, 1 + 0.9 * 2.0),  # the network's best action is the second, worth 2 to the target network
        (True, True, 1.0),  # nothing comes after the end
        (False, True, 1.0),
    ],
)
def test_target_by_hand(double, terminated, expected):
    target = dqn.q_target(
        jnp.float32(1), jnp.array(terminated), jnp.array([0.0, 3.0]), jnp.array([5.0, 2.0]), 0.9, double
    )
    assert target == pytest.approx(expected)


def test_no_gradient_passes_the_target():
    gradient = jax.grad(lambda q: dqn.q_target(1.0, jnp.array(False), q, q, 0.9).sum())(jnp.array([1.0, 2.0]))
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.weekly
def test_the_buffer_is_a_ring_of_consecutive_steps():
    _, _, state = states(5, 3)
    # Two updates of four steps in a buffer of six: columns 2 to 5 hold steps 2 to 5, columns 0 and 1 steps 6 and 7.
    assert int(state.replay.written) == 8
    replay = jax.device_get(state.replay.data)
    chex.assert_shape(replay.observation, (3, 6, 4))
    order = [2, 3, 4, 5, 0, 1]
    for before, after in itertools.pairwise(order):
        going = ~replay.terminated[:, before]
        np.testing.assert_array_equal(replay.next_observation[going, before], replay.observation[going, after])


@pytest.mark.weekly
def test_the_target_network_waits_and_then_copies():
    first, waiting, _ = states(5, 3)
    chex.assert_trees_all_equal(waiting.target_params, first.params)
    _, copied, _ = states(4, 3)
    chex.assert_trees_all_equal(copied.target_params, copied.params)


@pytest.mark.slow
def test_parameters_stay_until_learning_starts():
    first, state, _ = states(5, 4)
    chex.assert_trees_all_equal(state.params, first.params)
    first, state, _ = states(5, 3)
    changed = jax.tree.map(lambda a, b: (a != b).any(), state.params, first.params)
    assert any(jax.tree.leaves(changed))


class SecondOfFour(nn.Module):
    """Whatever is observed, the second of four actions is the best."""

    @nn.compact
    def __call__(self, x):
        values = self.param("values", lambda key: jnp.array([0.0, 1.0, 0.5, 0.25]))
        return jnp.broadcast_to(values, (*x.shape[:-1], 4))


@pytest.mark.slow
def test_the_share_of_random_actions_falls_linearly_to_its_end():
    def reset(key):
        return jnp.zeros(()), jnp.zeros(1)

    def step(key, state, action):
        no = jnp.array(False)
        return state, environments.Step(jnp.zeros(1), jnp.zeros(()), no, no, jnp.zeros(1))

    learner = dqn.learner(
        model=SecondOfFour(),
        optimizer=create_optimizer("sgd", 0.0),
        environment=environments.Environment("idle", reset, step, 4, (1,), 20),
        num_steps=6,
        buffer_size=6,
        minibatch_size=2,
        exploration_steps=4,
        exploration_final_eps=0.2,
    )
    batch = Source.indices(20_000)[np.arange(20_000)]
    state, _ = jax.jit(learner.update)(learner.init(jax.random.key(0), batch), batch)
    # epsilon = 1 - 0.8 t / 4, at least 0.2; a random action is one of four, the best one too. Standard deviation 0.003.
    epsilon = np.array([1.0, 0.8, 0.6, 0.4, 0.2, 0.2])
    for action in range(4):
        share = (np.asarray(state.replay.data.action) == action).mean(0)
        np.testing.assert_allclose(share, epsilon / 4 + (1 - epsilon) * (action == 1), atol=0.015)


class Scaled(nn.Module):
    """Values of actions, in proportion to the one number that is observed."""

    num_actions: int = 2

    @nn.compact
    def __call__(self, x):
        return x * self.param("values", nn.initializers.zeros, (self.num_actions,))


@pytest.mark.slow(only=["True-*"])
@pytest.mark.covers("RL-05")
@pytest.mark.parametrize(("double", "y"), [(True, 1 + 0.9 * 2.0), (False, 1 + 0.9 * 5.0)])
def test_one_update_by_hand(double, y):
    """Q = (1/2, 1) and the target's (5, 2): y = 1 + 0.9 x 2 of the best action of Q, or 1 + 0.9 x 5 of the target's."""
    learner = dqn.learner(
        model=Scaled(),
        optimizer=create_optimizer("sgd", 0.1, momentum=0.0),
        environment=constant_reward(terminates=False),
        num_steps=1,
        buffer_size=2,
        minibatch_size=2,
        learning_starts=0,
        exploration_steps=1,
        exploration_final_eps=0.0,
        gamma=0.9,
        double=double,
    )
    rows = Source.indices(1)[np.arange(1)]
    state = zeros_of(learner, rows)
    one, seen = np.ones((1, 2, 1), np.float32), state.replay.data
    # Every step is this one, of the second action.
    seen = seen._replace(observation=one, action=seen.action + 1, reward=one[..., 0], next_observation=one)
    values, targets = np.array([0.5, 1.0], np.float32), np.array([5.0, 2.0], np.float32)
    state = state.replace(
        observation=one[0, :1],
        replay=state.replay.replace(data=seen, written=np.int32(2)),
        params={"values": values},
        target_params={"values": targets},
    )
    after, metrics = jax.jit(learner.update)(state, rows)
    assert metrics["loss"].compute() == pytest.approx((1 - y) ** 2 / 2, rel=1e-5)
    assert metrics["q"].compute() == 1
    np.testing.assert_allclose(after.params["values"], [0.5, 1 - 0.1 * (1 - y)], rtol=1e-5)
    np.testing.assert_array_equal(after.target_params["values"], targets)


@pytest.mark.slow
@pytest.mark.covers("RL-05")
def test_values_of_a_corridor_are_learned():
    # State 0, 1, 2 and the end; action 1 moves right, action 0 stays; only the step into the end pays, 1.
    # With gamma = 0.5: Q(2, right) = 1, Q(1, right) = 0.5, Q(0, right) = 0.25; Q(s, stay) = 0.5 max Q(s).
    def one_hot(cell):
        return jax.nn.one_hot(cell, 3)

    def reset(key):
        return jnp.zeros((), jnp.int32), one_hot(0)

    def step(key, cell, action):
        reached = cell + action
        over = reached == 3
        after = jnp.where(over, 0, reached).astype(jnp.int32)
        no = jnp.array(False)
        return after, environments.Step(one_hot(after), over.astype(jnp.float32), over, no, one_hot(reached))

    corridor = environments.Environment("corridor", reset, step, 2, (3,), 20)
    learner = dqn.learner(
        model=networks.QNetwork(2, 16),
        optimizer=create_optimizer("adam", 3e-3),
        environment=corridor,
        gamma=0.5,
        num_steps=400,
        buffer_size=64,
        minibatch_size=32,
        learning_starts=8,
        exploration_steps=400,
        exploration_final_eps=0.3,
        target_update_interval=20,
    )
    batch = Source.indices(8)[np.arange(8)]
    state = jax.jit(learner.init)(jax.random.key(1), batch)
    update = jax.jit(learner.update)
    for _ in range(3):
        state, _ = update(state, batch)
    q = networks.QNetwork(2, 16).apply({"params": state.params}, jnp.eye(3))
    np.testing.assert_allclose(q[:, 1], [0.25, 0.5, 1.0], atol=0.03)
    np.testing.assert_allclose(q[:, 0], [0.125, 0.25, 0.5], atol=0.03)
    played = jax.jit(learner.predict)(state, batch)
    np.testing.assert_array_equal(played["length"], 3)


def test_epsilon_falls_in_a_line_and_the_target_is_copied_at_each_interval(monkeypatch):
    """Epsilon is 1 - 0.8 t / 4, and 0.2 from the fourth step on; actions are the tenths of it.

    An update of three steps that ends after a multiple of five steps copies the network.
    """

    def tenths(environment, keys, values, epsilon):
        return jnp.full(len(keys), jnp.round(10 * epsilon), jnp.int32)

    monkeypatch.setattr(dqn, "epsilon_greedy", tenths)
    learner = dqn.learner(
        model=Scaled(11),
        optimizer=optax.sgd(0.5),
        environment=constant_reward(terminates=False)._replace(num_actions=11),
        num_steps=3,
        buffer_size=3,
        minibatch_size=2,
        learning_starts=0,
        exploration_steps=4,
        exploration_final_eps=0.2,
        target_update_interval=5,
    )
    rows = Source.indices(1)[np.arange(1)]
    state, update = zeros_of(learner, rows), jax.jit(learner.update)
    state = state.replace(observation=np.ones((1, 1), np.float32), target_params={"values": np.full(11, 7, np.float32)})
    # The buffer is a ring of three: the step t lies at t mod 3.
    for written, tenths, is_copied in ((0, [10, 8, 6], False), (2, [4, 2, 6], True), (5, [2, 2, 2], False)):
        after, _ = update(state.replace(replay=state.replay.replace(written=np.int32(written))), rows)
        assert after.replay.data.action[0].tolist() == tenths
        np.testing.assert_array_equal(
            after.target_params["values"], after.params["values"] if is_copied else np.full(11, 7)
        )


def test_gradient_steps_follow_each_step_once_learning_has_started():
    """Five steps, of which those after the second are each followed by three gradient steps on minibatches of four.

    The buffer holds what was played: 2.5 is clipped to 1.
    """
    environment, sizes = constant_reward(terminates=False, action_size=1, reward=2.0), []

    def learn(state, data, key):
        sizes.append(len(data.reward))
        return state.replace(params=state.params + 1), {"reward": Sum.of(data.reward)}

    update = off_policy.off_policy_update(
        environment, lambda state, keys: jnp.full((len(keys), 1), 2.5), learn,
        off_policy.OffPolicy(num_steps=5, gradient_steps=3, minibatch_size=4, learning_starts=2),
    )  # fmt: skip
    rows = {"index": np.arange(2)}

    @jax.jit
    def run():
        agent = environments.start(
            environment, lambda key, x: jnp.float32(0), optax.identity(), jax.random.key(0), rows
        )
        state = off_policy.start_off_policy(
            agent, environment, {}, off_policy.OffPolicy(buffer_size=7, minibatch_size=4)
        )
        after, metrics = update(state, rows)
        return after.params, after.step, after.replay, metrics

    params, step, replay, metrics = run()
    assert set(sizes) == {4}
    assert (float(params), int(step), int(replay.written)) == (3 * 3, 1, 5)
    np.testing.assert_array_equal(replay.data.reward, [[2] * 5 + [0] * 2] * 2)
    np.testing.assert_array_equal(replay.data.action[..., 0], [[1] * 5 + [0] * 2] * 2)
    # Every step is cut off by time: ten episodes of the return 2; the minibatches of the fifteen gradient steps.
    assert (float(metrics["return"].total), int(metrics["return"].count)) == (20, 10)
    assert (float(metrics["reward"].compute()), int(metrics["reward"].count)) == (2, 60)
