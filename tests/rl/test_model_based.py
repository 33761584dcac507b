"""The planner on a quadratic, what is stored and predicted by hand, and a point brought home in a learnt model."""

import dataclasses
from types import SimpleNamespace

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
from tests.rl.corridors import zeros_of

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


def test_planning_by_hand():
    """One elite of one iteration is the best candidate; all are elites: their mean. The start is a candidate.

    The second iteration draws around the elites' mean with their deviation. NaN is worse than all numbers.
    """
    mean, key = jnp.zeros((2, 2)), jax.random.key(3)

    @jax.jit
    def run():
        noise = jnp.stack([jax.random.normal(jax.random.fold_in(key, i), (7, 2, 2)).at[0].set(0) for i in (0, 1)])

        def search(start, num_elites, iterations=1, score=quadratic):
            options = {"population": 7, "num_elites": num_elites, "iterations": iterations}
            return cross_entropy_method(score, key, start, 0.5, **options)

        left = search(mean, 1, score=lambda x: jnp.where(x[:, 0, 0] > 0, jnp.nan, quadratic(x)))
        return noise, search(mean, 1), search(mean, 7), search(TARGET, 1), search(mean, 3, 2), left

    noise, best, middle, start, second, left = jax.device_get(run())
    candidates, target = np.clip(0.5 * noise[0], -1, 1), np.asarray(TARGET)

    def ranked(x):
        return x[np.square(x - target).sum((1, 2)).argsort()]

    np.testing.assert_allclose(best, ranked(candidates)[0], rtol=1e-6)
    np.testing.assert_allclose(middle, candidates.mean(0), atol=1e-6)
    np.testing.assert_array_equal(start, target)
    elites = ranked(candidates)[:3]
    again = ranked(np.clip(elites.mean(0) + elites.std(0) * noise[1], -1, 1))[:3]
    np.testing.assert_allclose(second, again.mean(0), atol=1e-5)
    np.testing.assert_allclose(left, ranked(candidates[candidates[:, 0, 0] <= 0])[0], rtol=1e-6)


@pytest.mark.slow
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


def test_the_networks_have_two_hidden_layers_each_of_its_own_weights():
    """Three of them: silu(x W + b) twice, and a linear layer; silu(x) = x / (1 + exp(-x))."""
    rng, sizes = np.random.default_rng(0), (4, 5, 5, 2)
    params, x = {}, rng.normal(size=(3, 6, 4)).astype(np.float32)
    for i in range(3):
        params[f"kernel{i}"] = rng.normal(size=(3, *sizes[i : i + 2])).astype(np.float32)
        params[f"bias{i}"] = rng.normal(size=(3, 1, sizes[i + 1])).astype(np.float32)
    found = jax.jit(model_based.Dynamics(2, 5, 3).apply)({"params": params}, x)
    for e in range(3):
        y = x[e]
        for i in range(3):
            y = y @ params[f"kernel{i}"][e] + params[f"bias{i}"][e]
            y = y / (1 + np.exp(-y)) if i < 2 else y
        np.testing.assert_allclose(found[e], y, rtol=1e-4, atol=1e-5)


def test_bad_input_is_named():
    options = {"model": model_based.Dynamics(4), "optimizer": create_optimizer("sgd", 0.1)}
    discrete = drift()._replace(num_actions=2, action_low=None, action_high=None)
    with pytest.raises(ValueError, match="environment='drift': discrete actions; allowed: continuous actions"):
        model_based.learner(**options, environment=discrete)


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
    assert (int(after.replay.written), int(after.step)) == (3, 1)
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


def test_an_imagined_step_is_the_predicted_change_in_the_units_of_the_replay():
    """Two networks give (1, 2, 3) and (2, 4, 6) times z = (s - 1) / 2 + a, and s' = s + out * (1, 2) + (5, 6)."""
    seen = []

    def apply(variables, x):
        seen.append(x)
        return variables["params"][:, None] * (x[..., :1] + x[..., 2:])

    weights = jnp.float32([[1, 2, 3], [2, 4, 6]])
    network = SimpleNamespace(ensemble=2, apply=apply)
    scales = model_based.Statistics(*map(jnp.float32, ([1, 1], [2, 2], [5, 6, 7], [1, 2, 3])))
    state, action = jnp.float32([[[3, 5]], [[3, 5]]]), jnp.float32([[[0.5]], [[4]]])
    after, reward = model_based._World(network, 2, None).imagine(weights, scales, state, action)
    np.testing.assert_array_equal(seen[0], [[[1, 2, 0.5]], [[1, 2, 1]]])  # actions end at 1
    # z = 1.5 and 2: (1.5, 3, 4.5) and (4, 8, 12).
    np.testing.assert_allclose(after, [[[3 + 1.5 + 5, 5 + 6 + 6]], [[3 + 4 + 5, 5 + 16 + 6]]])
    np.testing.assert_allclose(reward, [[13.5 + 7], [36 + 7]])
    world = model_based._World(network, 2, lambda before, action, after: (before + 10 * after).sum(-1) + action[..., 0])
    same, known = world.imagine(weights, scales, state, action)
    np.testing.assert_array_equal(same, after)
    np.testing.assert_allclose(known[:, 0], [8 + 10 * 26.5 + 0.5, 8 + 10 * 39 + 4])


def test_a_plan_is_worth_its_rewards_and_goes_on_from_the_last_one(monkeypatch):
    """Two networks add the action, or twice it, to the state; the reward is the state after it."""
    world = SimpleNamespace(
        dimensions=1,
        members=lambda x: jnp.broadcast_to(x, (2, *x.shape)),
        imagine=lambda params, statistics, x, action: (x + params * action, (x + params * action)[..., 0]),
    )
    searches = []
    monkeypatch.setattr(
        model_based, "cross_entropy_method", lambda score, key, mean, **rest: searches.append((score, mean, rest))
    )
    state = SimpleNamespace(params=jnp.float32([1, 2]).reshape(2, 1, 1), statistics=None)
    before = jnp.float32([[1], [2], [3]])
    for warm in (True, False):
        planner = model_based.Planner(3, population=2, num_elites=1, iterations=5, warm_start=warm)
        model_based._plan(world, planner, state, None, jnp.float32([4]), before)
    (score, warm, settings), (_, cold, _) = searches
    np.testing.assert_array_equal(warm, [[2], [3], [0]])
    np.testing.assert_array_equal(cold, np.zeros((3, 1)))
    assert settings == {"population": 2, "num_elites": 1, "iterations": 5}
    # From 4 by (1, 0, 2): 5 + 5 + 7 = 17 and 6 + 6 + 10 = 22; NaN is no plan.
    found = score(jnp.float32([[[1], [0], [2]], [[np.nan], [0], [0]]]))
    assert found[0] == 19.5
    assert found[1] < -1e38


def test_agents_act_by_the_first_action_of_their_plan_which_ends_with_the_episode():
    """Of two points the first is in its last step. Its plan is cleared, and the other's is kept."""
    environment = drift()

    def plan(state, key, observation, before):
        return before + observation[0]

    observation = jnp.float32([[0.25, 0], [0.5, 0]])
    values = {"environment": (observation, jnp.int32([TIME - 1, 0])), "observation": observation}
    values |= {"episode_return": jnp.zeros(2), "plan": jnp.full((2, 3, 1), 0.25)}
    values["replay"] = SimpleNamespace(add=lambda transition: transition)
    fields = (field.name for field in dataclasses.fields(model_based.ModelBasedState))
    state = model_based.ModelBasedState(**{name: values.get(name) for name in fields})
    keys = jax.random.split(jax.random.key(0), (2, 2))

    @jax.jit
    def act(is_random):
        after, finished = model_based._act(environment, plan, state, keys, is_random)
        return after.replay, after.plan, finished.count, environments.random_actions(environment, keys[:, 0])

    stored, plans, count, _ = act(False)
    np.testing.assert_array_equal(stored.action, [[0.5], [0.75]])
    np.testing.assert_array_equal(stored.observation, observation)
    np.testing.assert_allclose(stored.next_observation[:, 1], [0.15, 0.225], rtol=1e-5)  # .3 of the action
    np.testing.assert_array_equal(plans[..., 0], [[0] * 3, [0.75] * 3])
    assert int(count) == 1
    stored, plans, _, drawn = act(True)
    np.testing.assert_array_equal(stored.action, drawn)
    np.testing.assert_array_equal(plans[1], np.full((3, 1), 0.25))


def test_an_episode_is_measured_until_its_end():
    """The state moves by (1, 2) a step, three times, and is rewarded by the action; plans grow by one.

    Networks predict 1 and 3 more, 2 in the mean: errors of (1, 0) over deviations of (1, 2), whose mean square is 1/2;
    without a change errors are (1, 2), of mean square 1.
    """

    def step(key, time, action):
        seen = jnp.stack([time + 1, 2 * (time + 1)]).astype(jnp.float32)
        return time + 1, Step(seen, action[0], time + 1 >= 3, jnp.array(False), seen)

    environment = Environment(
        "count", lambda key: (jnp.int32(0), jnp.zeros(2)), step, None, (2,), 5, -np.ones(1), np.ones(1)
    )
    world = SimpleNamespace(
        dimensions=2,
        members=lambda x: jnp.stack([x, x]),
        imagine=lambda params, statistics, x, action: (x + jnp.float32([1, 3]).reshape(2, 1, 1), None),
    )
    state = SimpleNamespace(params=None, statistics=SimpleNamespace(output_std=jnp.float32([1, 2, 9])))
    found = model_based._episode(
        environment, world, lambda state, key, seen, before: before + 1, state, jnp.zeros((2, 1)), jax.random.key(0)
    )
    np.testing.assert_allclose(found, [1 + 2 + 3, 3, 1.5, 3])


def test_an_evaluation_measures_the_errors_of_single_steps(monkeypatch):
    """Three steps by (1, 2), of actions 0.5; both networks predict 2 x 0.5 and 0, with the error (0 + 4) / 2.

    The prediction that nothing changes has the error (1 + 4) / 2.
    """
    monkeypatch.setattr(model_based, "cross_entropy_method", lambda score, key, mean, **_: 0 * mean + 0.5)

    def step(key, time, action):
        seen = jnp.stack([time + 1, 2 * (time + 1)]).astype(jnp.float32)
        return time + 1, Step(seen, action[0], time + 1 >= 3, jnp.array(False), seen)

    environment = Environment(
        "count", lambda key: (jnp.int32(0), jnp.zeros(2)), step, None, (2,), 5, -np.ones(1), np.ones(1)
    )
    learner = model_based.learner(
        model=Linear(), optimizer=optax.sgd(0.1), environment=environment, num_steps=3, minibatch_size=2, buffer_size=5,
        planner=model_based.Planner(2, population=2, num_elites=1, iterations=1),
    )  # fmt: skip
    rows = {"index": np.arange(2), "mask": np.array([1, 0])}
    state = zeros_of(learner, rows)
    ones = state.statistics.replace(
        **{name: np.ones_like(getattr(state.statistics, name)) for name in ("input_std", "output_std")}
    )
    state.params["w"][:, 2, 0] = 2
    metrics = jax.jit(learner.evaluate)(state.replace(statistics=ones), rows)
    found = {name: (metric.compute(), int(metric.count)) for name, metric in metrics.items()}
    assert found == {"return": (1.5, 1), "length": (3, 1), "model_error": (2.0, 1), "no_change_error": (2.5, 1)}
