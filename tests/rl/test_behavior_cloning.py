"""The loss by hand, and a pole that is balanced after four episodes of a controller."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.data.source import Source
from dlcore.learner import State
from dlcore.optim import create_optimizer
from dlcore.rl import behavior_cloning, demonstrations, environments
from dlcore.rl.distributions import Categorical, DiagonalGaussian
from dlcore.rl.networks import CategoricalActor
from tests.rl.corridors import chain, constant_reward


class Fixed(nn.Module):
    """A policy that knows one number: the logit of action 1, or the mean of a unit Gaussian."""

    continuous: bool = False

    @nn.compact
    def __call__(self, x):
        number = jnp.broadcast_to(self.param("number", nn.initializers.ones, (1,)), (len(x), 1))
        if self.continuous:
            return DiagonalGaussian(number, jnp.zeros_like(number))
        return Categorical(jnp.concatenate([jnp.zeros_like(number), number], -1))


def loss_of(model, action, mask):
    environment = constant_reward(True, action_size=int(model.continuous))
    learner = behavior_cloning.learner(model=model, optimizer=create_optimizer("sgd", 0.1), environment=environment)
    n = len(action)
    batch = {"observation": jnp.zeros((n, 4)), "action": jnp.array(action), "index": jnp.arange(n), "mask": mask}
    state = learner.init(jax.random.key(0), batch)
    value, metrics = learner.loss(state.params, state, batch)
    return float(value), {name: metric.compute() for name, metric in metrics.items()}


def test_discrete_loss_by_hand():
    # logits 0 and 1: p(1) = e / (1 + e); -log p(1) = log(1 + 1/e), -log p(0) = log(1 + e); the third row is padding
    value, metrics = loss_of(Fixed(), [1, 0, 0], jnp.array([1.0, 1.0, 0.0]))
    expected = (np.log1p(np.exp(-1)) + np.log1p(np.e)) / 2
    assert value == pytest.approx(expected, rel=1e-6)
    assert metrics == {"loss": pytest.approx(expected, rel=1e-6), "accuracy": 0.5}


def test_continuous_loss_by_hand():
    # N(a; 1, 1) at a = 3: -log = 2^2 / 2 + log(2 pi) / 2
    value, metrics = loss_of(Fixed(continuous=True), [[3.0], [9.0]], jnp.array([1.0, 0.0]))
    assert value == pytest.approx(2 + 0.5 * np.log(2 * np.pi), rel=1e-6)
    assert set(metrics) == {"loss"}


@pytest.mark.covers("RL-09")
def test_one_update_by_hand():
    """The gradient of -log p(a) by the logit of action 1 is sigmoid(logit) - a; the third row is padding."""
    rate, action = 0.1, np.array([1, 0, 0], np.int32)
    learner = behavior_cloning.learner(
        model=Fixed(), optimizer=optax.sgd(rate), environment=constant_reward(terminates=True)
    )
    params = {"number": np.array([0.7], np.float32)}
    state = State(np.int32(0), jax.random.key(0), params, optax.sgd(rate).init(params))
    batch = {"observation": np.ones((3, 1), np.float32), "action": action, "mask": np.array([1.0, 1, 0], np.float32)}
    after, metrics = jax.jit(learner.update)(state, batch | {"index": np.arange(3)})
    p = 1 / (1 + np.exp(-0.7))
    np.testing.assert_allclose(after.params["number"], [0.7 - rate * ((p - 1) + p) / 2], rtol=1e-5)
    assert metrics["loss"].compute() == pytest.approx(-(np.log(p) + np.log(1 - p)) / 2, rel=1e-5)
    assert int(after.step) == 1
    assert learner.classes(state, batch) == {"action": 2}


def test_the_deviation_of_a_continuous_policy_is_bounded():
    policy = behavior_cloning.GaussianActor(2, 4)
    x = jnp.ones((3, 5))
    shapes = jax.eval_shape(policy.init, jax.random.key(0), x)["params"]
    params = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes) | {"log_std": np.float32([-99, 1])}
    found = jax.jit(lambda x: policy.apply({"params": params}, x))(x)
    np.testing.assert_allclose(found.log_std, [[-5, 1]] * 3)
    chex.assert_shape(found.mean, (3, 2))


def balance(key, x):
    """A controller by hand: lean against the fall, and slowly back to the middle."""
    return (0.1 * x[0] + 0.3 * x[1] + 2 * x[2] + x[3] > 0).astype(jnp.int32)


class Signed(nn.Module):
    """Action 1 where the weighted number that is seen is above 0."""

    @nn.compact
    def __call__(self, x):
        return Categorical(x * self.param("w", nn.initializers.ones, (1,)) * jnp.array([-1, 1]))


@pytest.mark.slow
def test_in_use_the_most_probable_action_is_taken():
    """Action 1 where -s is above 0: in states 0 and 1, which show -1 and -2, on to the end for 1 + 2."""
    learner = behavior_cloning.learner(
        model=Signed(), optimizer=optax.sgd(0.1), environment=chain(np.float32([[-1], [-2], [5]]))
    )
    params, rows = {"w": np.float32([-1])}, Source.indices(1)[np.arange(1)]
    played = jax.jit(learner.evaluate)(State(np.int32(0), jax.random.key(0), params, None), rows)
    assert (played["return"].compute(), played["length"].compute()) == (3, 2)


@pytest.mark.weekly
@pytest.mark.covers("RL-09")
def test_four_episodes_are_enough_to_balance_the_pole():
    environment = environments.make("CartPole-v1")
    expert = demonstrations.record(environment, balance, jax.random.split(jax.random.key(0), 4))
    assert expert.mean_return == 500
    learner = behavior_cloning.learner(
        model=behavior_cloning.actor(environment, 32), optimizer=create_optimizer("adam", 3e-3), environment=environment
    )
    source = Source(demonstrations.select(expert))
    everything = source[np.arange(len(source))]
    first = jax.jit(learner.init)(jax.random.key(1), source[np.arange(8)])

    @jax.jit
    def train(state):
        def step(state: State, t):
            rows = jax.random.randint(jax.random.fold_in(state.rng, t), (64,), 0, len(source))
            return learner.update(state, jax.tree.map(lambda x: jnp.asarray(x)[rows], everything))

        return jax.lax.scan(step, state, jnp.arange(500))

    state, metrics = train(first)
    play = jax.jit(learner.evaluate)
    episodes = Source.indices(10)[np.arange(10)]
    assert play(first, episodes)["return"].compute() < 100
    assert play(state, episodes)["return"].compute() >= 450
    losses = metrics["loss"].total / metrics["loss"].count
    assert losses[-50:].mean() < 0.3 < losses[0]
    assert state.step == 500


def test_the_actor_is_that_of_the_environment_s_actions():
    assert behavior_cloning.actor(constant_reward(True), 5) == CategoricalActor(2, 5)
    assert behavior_cloning.actor(constant_reward(True, 3), 5) == behavior_cloning.GaussianActor(3, 5)
