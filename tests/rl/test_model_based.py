"""The planner on a quadratic, what is stored and predicted by hand, and a point brought home in a learnt model."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.data.source import Source
from dlcore.optim import create_optimizer
from dlcore.rl import environments, model_based
from dlcore.rl.environments import Environment, Step
from dlcore.rl.model_based import cross_entropy_method

HORIZON, TIME = 6, 10
TARGET = jnp.array([[0.5, -0.25], [-0.75, 0.875]])


def quadratic(x):
    return -jnp.square(x - TARGET).sum((-2, -1))


@pytest.mark.slow
def test_the_planner_finds_the_top_of_a_quadratic():
    options = {"population": 200, "num_elites": 10, "iterations": 12}
    found = cross_entropy_method(quadratic, jax.random.key(0), jnp.zeros((2, 2)), **options)
    np.testing.assert_allclose(found, TARGET, atol=5e-3)
    outside = cross_entropy_method(
        lambda x: x[..., 0, 0] - x[..., 1, 1], jax.random.key(0), jnp.zeros((2, 2)), **options
    )
    np.testing.assert_allclose([outside[0, 0], outside[1, 1]], [1, -1], atol=0.02)


@pytest.mark.slow
def test_planning_by_hand():
    """One elite of one iteration is the best candidate; all are elites: their mean. The start is a candidate."""
    mean, key = jnp.zeros((2, 2)), jax.random.key(3)
    noise = jax.random.normal(jax.random.fold_in(key, 0), (7, 2, 2)).at[0].set(0)
    candidates = jnp.clip(0.5 * noise, -1, 1)
    options = {"std": 0.5, "population": 7, "iterations": 1}
    best = cross_entropy_method(quadratic, key, mean, num_elites=1, **options)
    np.testing.assert_allclose(best, candidates[quadratic(candidates).argmax()])
    np.testing.assert_allclose(
        cross_entropy_method(quadratic, key, mean, num_elites=7, **options), candidates.mean(0), atol=1e-6
    )
    np.testing.assert_allclose(cross_entropy_method(quadratic, key, TARGET, num_elites=1, **options), TARGET)


def test_the_pendulum_s_reward_is_the_environment_s():
    environment = environments.make("Pendulum-v1")
    state, observation = jax.jit(environment.reset)(jax.random.key(0))
    step = jax.jit(environment.step)
    for t in range(5):
        action = jnp.array([1.5 - t])
        state, out = step(jax.random.key(t), state, action)
        found = model_based.pendulum_reward(observation, action, out.final_observation)
        np.testing.assert_allclose(found, out.reward, rtol=1e-4)
        observation = out.observation


def drift(terminates: bool = False) -> Environment:
    """A point on a line with a velocity; rewarded for being near 0, and cut off by time."""

    def reset(key):
        x = jax.random.uniform(key, (2,), minval=-1, maxval=1)
        return (x, jnp.zeros((), jnp.int32)), x

    def step(key, state, action):
        x, time = state
        velocity = 0.9 * x[1] + 0.3 * jnp.clip(action[0], -1, 1)
        after = jnp.stack([x[0] + 0.3 * velocity, velocity])
        late = time + 1 == TIME
        (new, zero), first = reset(key)
        reached = jax.tree.map(lambda a, b: jnp.where(late, a, b), (new, zero), (after, time + 1))
        no = jnp.array(False)
        return reached, Step(jnp.where(late, first, after), -jnp.square(after[0]), no, late, after)

    return Environment("drift", reset, step, None, (2,), TIME, -np.ones(1), np.ones(1), endless=True)


def near_zero(observation, action, after):
    return -jnp.square(after[..., 0])


def build(reward, **options):
    return model_based.learner(
        model=model_based.Dynamics(2 + (reward is None), 32, 2),
        optimizer=create_optimizer("adam", 3e-3),
        environment=drift(),
        reward=reward,
        **{"num_steps": TIME, "num_updates": 400, "minibatch_size": 32, "buffer_size": 50, "random_steps": 2 * TIME}
        | {"planner": model_based.Planner(HORIZON, population=60, num_elites=6, iterations=3)}
        | options,
    )


BATCH = Source.indices(8)[np.arange(8)]
EPISODES = {"index": np.arange(16), "episode": np.arange(16)}


@pytest.fixture(scope="module")
def trained():
    """The states before and after three updates, in which the reward is learnt: (first, last, predict)."""
    learner = build(None)
    first, update = jax.jit(learner.init)(jax.random.key(0), BATCH), jax.jit(learner.update)
    state = first
    for _ in range(3):
        state, metrics = update(state, BATCH)
    assert metrics["loss"].compute() < 0.01
    return first, state, jax.jit(learner.predict)


@pytest.mark.weekly
def test_stored_transitions_follow_from_their_actions(trained):
    """No transition of the ring goes from the end of an episode to the start of the next."""
    data = jax.tree.map(lambda x: np.asarray(x[:, : 3 * TIME]), trained[1].replay.data)
    assert trained[1].replay.written == 3 * TIME
    velocity = 0.9 * data.observation[..., 1] + 0.3 * np.clip(data.action[..., 0], -1, 1)
    np.testing.assert_allclose(data.next_observation[..., 1], velocity, atol=1e-6)
    np.testing.assert_allclose(data.next_observation[..., 0], data.observation[..., 0] + 0.3 * velocity, atol=1e-6)
    np.testing.assert_allclose(data.reward, -np.square(data.next_observation[..., 0]), atol=1e-6)
    ends = data.next_observation[:, TIME - 1] - data.observation[:, TIME]
    assert np.abs(ends).max() > 0.1, "the next episode starts elsewhere"
    np.testing.assert_array_equal(trained[1].plan, 0)  # a new episode has no plan


@pytest.mark.slow
def test_statistics_are_those_of_what_was_seen(trained):
    data = jax.tree.map(lambda x: np.asarray(x[:, : 3 * TIME]).reshape(-1, *x.shape[2:]), trained[1].replay.data)
    change = np.concatenate([data.next_observation - data.observation, data.reward[:, None]], -1)
    found = trained[1].statistics
    for (mean, std), seen in (
        ((found.input_mean, found.input_std), data.observation),
        ((found.output_mean, found.output_std), change),
    ):
        np.testing.assert_allclose(mean, seen.mean(0), atol=1e-5)
        np.testing.assert_allclose(std, seen.std(0), rtol=1e-4)


@pytest.mark.slow
@pytest.mark.covers("RL-09")
def test_a_point_is_brought_home_in_a_learnt_model(trained):
    """Beside it: the model before it has learnt, and that nothing changes."""
    first, state, predict = trained
    before, after = predict(first, EPISODES), predict(state, EPISODES)
    assert after["return"].mean() > 0.5 * before["return"].mean()
    assert after["model_error"].mean() < 0.01 < 0.1 < after["no_change_error"].mean()
    np.testing.assert_array_equal(after["length"], TIME)


def test_with_a_known_reward_the_model_predicts_changes_alone():
    learner = build(near_zero)
    state = jax.eval_shape(learner.init, jax.random.key(0), BATCH)
    chex.assert_shape(state.params["kernel2"], (2, 32, 2))
    after, _ = jax.eval_shape(learner.update, state, BATCH)
    chex.assert_shape(after.statistics.output_mean, (2,))


def test_bad_input_is_named():
    options = {"model": model_based.Dynamics(4), "optimizer": create_optimizer("sgd", 0.1)}
    with pytest.raises(ValueError, match="environment='CartPole-v1': discrete actions; allowed: continuous actions"):
        model_based.learner(**options, environment=environments.make("CartPole-v1"))
    images = drift()._replace(observation_shape=(4, 4, 1))
    with pytest.raises(ValueError, match=r"observations of shape \(4, 4, 1\); allowed: vectors"):
        model_based.learner(**options, environment=images)
    with pytest.raises(ValueError, match="num_elites=9: not among the candidates; allowed: 1 to population=8"):
        model_based.learner(**options, environment=drift(), planner=model_based.Planner(num_elites=9, population=8))


class Linear(nn.Module):
    """Two networks that are a matrix each, of (observation, action)."""

    ensemble: int = 2

    @nn.compact
    def __call__(self, x):
        return jnp.einsum("ebd,edo->ebo", x, self.param("w", nn.initializers.zeros, (2, 3, 3)))


@pytest.mark.covers("RL-09")
def test_one_update_by_hand(monkeypatch):
    """Half the mean square of normalized changes and rewards, summed over two networks that draw four steps each."""
    rate, instances = 0.5, 2
    monkeypatch.setattr(model_based, "cross_entropy_method", lambda score, key, mean, **_: mean)  # no plan is used yet
    learner = model_based.learner(
        model=Linear(), optimizer=optax.sgd(rate), environment=drift(), num_steps=3, num_updates=1, minibatch_size=4,
        buffer_size=5, random_steps=10, planner=model_based.Planner(1, population=2, num_elites=1, iterations=1),
    )  # fmt: skip
    rows = Source.indices(instances)[np.arange(instances)]
    w = np.random.default_rng(0).normal(size=(2, 3, 3)).astype(np.float32)

    shapes = jax.eval_shape(learner.init, jax.random.key(0), rows).replace(rng=None)
    state = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes).replace(rng=jax.random.key(0), params={"w": w})
    state = state.replace(observation=np.float32([[0.5, -0.3], [-0.2, 0.8]]))

    @jax.jit
    def step(state):
        after, metrics = learner.update(state, rows)
        sampling = jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(state.rng, 0), 1), 0)
        return after.replace(rng=None), metrics, after.replay.sample(sampling, 8)

    after, metrics, drawn = jax.device_get(step(state))
    assert int(after.replay.written) == 3
    stored = jax.tree.map(lambda x: np.float64(x[:, :3]).reshape(6, -1), after.replay.data)
    change = np.concatenate([stored.next_observation - stored.observation, stored.reward], -1)
    mean, std = stored.observation.mean(0), stored.observation.std(0)
    np.testing.assert_allclose(after.statistics.input_mean, mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(after.statistics.output_std, change.std(0), rtol=1e-4)
    new, losses = w.astype(np.float64), []
    for e, part in enumerate((slice(0, 4), slice(4, 8))):
        own = jax.tree.map(lambda x, part=part: np.float64(x[part]).reshape(4, -1), drawn)
        x = np.concatenate([(own.observation - mean) / std, np.clip(own.action, -1, 1)], -1)
        target = np.concatenate([own.next_observation - own.observation, own.reward], -1)
        error = x @ w[e] - (target - change.mean(0)) / change.std(0)
        losses.append(0.5 * np.square(error).mean(-1))  # over three numbers
        new[e] -= rate * x.T @ error / 3 / 4
    np.testing.assert_allclose(after.params["w"], new, rtol=1e-4, atol=1e-5)
    assert metrics["loss"].compute() == pytest.approx(np.mean(losses), rel=1e-4)
