"""Rewards and features by hand, what an end is worth, and a rule that is learnt from its examples without a reward."""

import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.data.source import Source
from dlcore.learner import Sum
from dlcore.optim import create_optimizer
from dlcore.rl import demonstrations, gail, networks
from dlcore.rl.environments import Environment, Step
from dlcore.rl.ppo import PPO
from dlcore.rl.rollout import GAE, Rollout
from tests.rl.corridors import TwoActions, chosen_actions, constant_reward, zeros_of

LIGHTS = 16


def test_rewards_by_hand():
    # D = 1/2: -log(1 - D) = log 2 and log D = -log 2; D = 3/4, of the logit log 3: log 4 and log(3/4)
    logits = jnp.log(jnp.array([1.0, 3.0]))
    np.testing.assert_allclose(gail.imitation_reward(logits, "positive"), np.log([2, 4]), rtol=1e-6)
    np.testing.assert_allclose(gail.imitation_reward(logits, "negative"), np.log([0.5, 0.75]), rtol=1e-6)


def test_features_by_hand():
    absorbing = jnp.array([False, True])
    found = gail.features(jnp.array([[5.0, 6.0]] * 2), jnp.array([1, 1]), absorbing, 3)
    np.testing.assert_array_equal(found, [[5, 6, 0, 1, 0, 0], [0, 0, 0, 0, 0, 1]])
    found = gail.features(jnp.array([[5.0, 6.0]] * 2), jnp.array([[0.5], [0.5]]), absorbing, None)
    np.testing.assert_array_equal(found, [[5, 6, 0.5, 0], [0, 0, 0, 1]])
    # A torque of 2.5 is played as 1, so that the two are one step.
    found = gail.features(jnp.array([[5.0, 6.0]] * 2), jnp.array([[2.5, -7.0], [1, -1]]), jnp.zeros(2, bool), None)
    np.testing.assert_array_equal(found, [[5, 6, 1, -1, 0]] * 2)


def test_ends_of_episodes_become_absorbing_rows():
    x = np.ones((2, 3), np.float32)
    episodes = demonstrations.Demonstrations("x", x, x.astype(int), np.array([3, 2]), np.array([False, True]), x[:, 0])
    rows = demonstrations.select(episodes, absorbing=True)
    np.testing.assert_array_equal(rows["absorbing"], [False] * 5 + [True])
    np.testing.assert_array_equal(rows["observation"], [1] * 5 + [0])
    np.testing.assert_array_equal(rows["weight"], [1] * 6)
    np.testing.assert_array_equal(demonstrations.select(episodes, 2, absorbing=True)["weight"][-1], 0.5)
    np.testing.assert_array_equal(demonstrations.select(episodes, 9, absorbing=True)["weight"], [1, 1, 0.5])


def ends() -> Environment:
    """Episodes of one step: those that show 1 terminate, those that show 0 are cut off by time."""

    def reset(key):
        over = jax.random.bernoulli(key, 0.5)
        return over, jnp.array([over], jnp.float32)

    def step(key, over, action):
        new, observation = reset(key)
        return new, Step(observation, jnp.float32(0), over, ~over, jnp.array([over], jnp.float32))

    return Environment("ends", reset, step, 2, (1,), 1)


def lights() -> Environment:
    """A light at each step; what it is for, the environment does not say. Episodes are cut off by time."""

    def reset(key):
        return jnp.zeros((), jnp.int32), jax.random.uniform(key, (1,), minval=-1, maxval=1)

    def step(key, time, action):
        observation = jax.random.uniform(key, (1,), minval=-1, maxval=1)
        late = time + 1 == 4
        no = jnp.array(False)
        return jnp.where(late, 0, time + 1), Step(observation, jnp.float32(0), no, late, observation)

    return Environment("lights", reset, step, 2, (1,), 4, endless=True)


def build(environment, **options):
    return gail.learner(
        environment=environment,
        normalize_observation=False,
        **{
            "model": networks.actor_critic(environment, 8),
            "optimizer": create_optimizer("adam", 1e-2),
            "discriminator_optimizer": create_optimizer("adam", 3e-2),
            "num_steps": 8,
            "discriminator": gail.Discriminator(8),
        }
        | options,
    )


def batch_of(action):
    observation = np.linspace(-1, 1, LIGHTS, dtype=np.float32)[:, None]
    shown = {"observation": observation, "action": action(observation[:, 0]), "absorbing": np.zeros(LIGHTS, bool)}
    shown["weight"] = np.ones(LIGHTS, np.float32)
    return {"environments": Source.indices(16)[np.arange(16)], "demonstrations": Source(shown)[np.arange(LIGHTS)]}


def trained(learner, steps):
    """batch -> the state after so many updates."""

    def several(state, batch):
        return jax.lax.scan(lambda state, _: learner.update(state, batch), state, None, steps)[0]

    init, several = jax.jit(learner.init), jax.jit(several)
    return lambda batch: several(init(jax.random.key(0), batch), batch)


class Known(nn.Module):
    """The logit log 3 for the absorbing state and 0 for all else."""

    @nn.compact
    def __call__(self, x):
        return x[..., -1] * jnp.log(3.0) * self.param("one", nn.initializers.ones, ())


@pytest.mark.slow
@pytest.mark.weekly(unless=["True-1.5"])
@pytest.mark.parametrize(("absorbing", "terminated"), [(False, 0.5), (True, 1.5)])
def test_a_constant_reward_is_worth_r_over_1_minus_gamma_unless_the_end_is_the_end(absorbing, terminated):
    """Rewards are r = log 2, and 2 r of the absorbing state; gamma is 1/2, and the policy learns from r / 2.

    Cut off by time: V = r / 2 / (1 - gamma) = r. Terminated: V = r / 2, and with an absorbing state half of 2 r more.
    """
    known = {"discriminator": Known(), "discriminator_steps": 0}
    learner = build(ends(), absorbing=absorbing, gae=GAE(0.5), ppo=PPO(vf_coef=1.0), **known)
    state = trained(learner, 80)(batch_of(lambda x: (x > 0).astype(int)))
    r = np.log(2)
    _, value = networks.actor_critic(ends(), 8).apply({"params": state.params}, jnp.array([[0.0], [1.0]]))
    np.testing.assert_allclose(value, [r, terminated * r], atol=0.03)


class Line(nn.Module):
    """A logit for the absorbing state and one for all else."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(1)(x[..., -1:])[..., 0]


@pytest.mark.weekly
def test_the_end_of_a_sub_sampled_episode_weighs_what_its_steps_do():
    """Of the policy's rows a third are ends, and so are half of the expert's, of weight w: odds 3 w / (1 + w)."""
    half = np.arange(LIGHTS) % 2 == 0
    for weight in (0.05, 0.5):
        learner = build(ends(), discriminator=Line(), discriminator_steps=20, gradient_penalty=0.0, gae=GAE(0.5))
        batch = batch_of(lambda x: (x > 0).astype(int))
        batch["demonstrations"] |= {"absorbing": half, "weight": np.where(half, weight, 1).astype(np.float32)}
        (layer,) = trained(learner, 20)(batch).discriminator.values()
        logit = float(layer["kernel"][0, 0] + layer["bias"][0])
        np.testing.assert_allclose(logit, np.log(3 * weight / (1 + weight)), atol=0.25)


@pytest.mark.weekly
@pytest.mark.covers("RL-09")
def test_a_rule_is_learnt_from_examples_alone():
    """Press 1 where the light is bright, or where it is not; the environment gives no reward."""
    environment = lights()
    learner = build(environment, gae=GAE(0.5), discriminator_steps=8, gradient_penalty=0.1)
    train = trained(learner, 60)
    x = jnp.linspace(-1, 1, 40)[:, None]
    bright = np.asarray(x[:, 0] > 0)

    def agreement(state):
        policy, _ = networks.actor_critic(environment, 8).apply({"params": state.params}, x)
        return (np.asarray(policy.mode()) == bright).mean()

    assert agreement(train(batch_of(lambda x: (x > 0).astype(int)))) >= 0.85
    assert agreement(train(batch_of(lambda x: (x <= 0).astype(int)))) <= 0.15


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"gamma=1\.0: no episode of lights terminates; allowed: below 1"):
        build(lights(), gae=GAE(1.0))


class Judge(nn.Module):
    """One weight for each feature: the observation, the two actions, and the flag of the absorbing state."""

    square: bool = False

    @nn.compact
    def __call__(self, x):
        return (x**2 / 2 if self.square else x) @ self.param("weights", nn.initializers.zeros, (4,))


@pytest.mark.slow
@pytest.mark.covers("RL-09")
@pytest.mark.parametrize("square", [False, True])
def test_one_update_by_hand(square):
    """The discriminator first, on expert and policy; its rewards then make the advantages, and the end's value."""
    value, rate, gamma, penalty = 0.5, 0.2, 0.9, 3.0
    learner = gail.learner(
        model=TwoActions(), discriminator=Judge(square),
        optimizer=optax.sgd(rate), discriminator_optimizer=optax.sgd(rate),
        environment=constant_reward(True, reward=7.0, every=2), discriminator_steps=1, gradient_penalty=penalty,
        num_steps=2, gae=GAE(gamma, 0.8), ppo=PPO(1, 1, vf_coef=0.3, ent_coef=0.2), normalize_observation=False,
    )  # fmt: skip
    shown = {"observation": np.array([[2.0], [1.0], [0.0]], np.float32), "action": np.array([1, 0, 0], np.int32)}
    shown |= {"absorbing": np.array([False, False, True]), "weight": np.array([1.0, 1.0, 0.5], np.float32)}
    rows = {"environments": {"index": np.arange(2)}, "demonstrations": shown | {"index": np.arange(3)}}
    shapes = jax.eval_shape(learner.init, jax.random.key(0), rows).replace(rng=None)
    logits, weights = np.array([0.2, -0.5], np.float32), np.array([0.3, -0.4, 0.6, 0.5], np.float32)
    before = {"logits": logits, "value": np.float32(value)}
    state = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes).replace(
        rng=jax.random.key(3),
        observation=np.ones((2, 1), np.float32),
        params=before,
        discriminator={"weights": weights},
    )
    after, metrics = jax.jit(learner.update)(state, rows)

    @jax.jit
    def expected():
        acting, judging = (jax.random.fold_in(jax.random.fold_in(jax.random.key(3), 0), k) for k in range(2))
        action = chosen_actions(acting, logits)  # [T, N]; the second step ends the episode of both
        end = jnp.array([0.0, 0, 0, 1])
        seen = jnp.stack([jnp.ones((2, 2)), action == 0, action == 1, jnp.zeros((2, 2))], -1)
        expert = jnp.array([[2.0, 0, 1, 0], [1, 1, 0, 0], end])
        # The pool: four steps, and an absorbing state for each of the two that end.
        pool = jnp.concatenate([seen.reshape(4, 4), jnp.broadcast_to(end, (4, 4))])
        chance = jnp.array([1.0, 1, 1, 1, 0, 0, 1, 1]) / 6
        which, blend = jax.random.split(jax.random.fold_in(judging, 0))
        policy = pool[jax.random.choice(which, 8, (3,), p=chance)]

        mix = jax.random.uniform(blend, (3, 1))
        mixed = mix * expert + (1 - mix) * policy

        def read(x):
            return x**2 / 2 if square else x

        def judged(w):
            share = shown["weight"] / shown["weight"].mean()
            told = (share * jnp.log1p(jnp.exp(-read(expert) @ w)) + jnp.log1p(jnp.exp(read(policy) @ w))).mean()
            slope = mixed * w if square else jnp.broadcast_to(w, mixed.shape)  # of w x^2 / 2 and of w x
            return told + penalty * ((jnp.sqrt((slope**2).sum(-1)) - 1) ** 2).mean()

        w = weights - rate * jax.grad(judged)(weights)
        reward = (1 - gamma) * jnp.log1p(jnp.exp(read(seen) @ w))
        last = reward[1] + gamma * jnp.log1p(jnp.exp(read(end) @ w)) - value  # the absorbing state for ever
        advantage = jnp.stack([reward[0] + gamma * value - value + gamma * 0.8 * last, last])
        normalized, target = (advantage - advantage.mean()) / advantage.std(), advantage + value

        def loss(params):
            log_p = jnp.log(jnp.exp(params["logits"]) / jnp.exp(params["logits"]).sum())
            entropy = -(jnp.exp(log_p) * log_p).sum()
            error = (params["value"] - target) ** 2 / 2
            return (-log_p[action] * normalized + 0.3 * error - 0.2 * entropy).mean()

        new = jax.tree.map(lambda p, g: p - rate * g, before, jax.grad(loss)(before))
        return w, new, (reward / (1 - gamma)).mean()

    w, new, reward = expected()
    np.testing.assert_allclose(after.discriminator["weights"], w, rtol=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), after.params, new)
    assert metrics["reward"].compute() == pytest.approx(float(reward), rel=1e-4)


def test_a_discriminator_has_two_hidden_layers_and_starts_at_0():
    discriminator = gail.Discriminator(3)
    shapes = jax.eval_shape(discriminator.init, jax.random.key(0), jnp.zeros((1, 2)))["params"]
    kernels = [(2, 3), (3, 3), (3, 1)]
    assert [shapes[f"Dense_{k}"]["kernel"].shape for k in range(len(shapes))] == kernels
    params = {
        f"Dense_{k}": {"kernel": np.sin(np.arange(a * b, dtype=np.float32)).reshape(a, b), "bias": np.full(b, 0.25)}
        for k, (a, b) in enumerate(kernels)
    }
    x = expected = np.array([[0.5, -1.0], [2.0, 0.25]], np.float32)
    for k, (a, b) in enumerate(kernels):
        expected = expected @ np.sin(np.arange(a * b)).reshape(a, b) + 0.25
        expected = np.tanh(expected) if k < 2 else expected[:, 0]
    np.testing.assert_allclose(jax.jit(discriminator.apply)({"params": params}, x), expected, rtol=1e-5)


def test_the_discriminator_s_loss_by_hand():
    """f = a x + b y with (a, b) = (3, 4): a slope of 5 everywhere, a penalty of (5 - 1)^2 = 16."""
    expert, policy = np.float32([[1.0, 0.0], [0.0, -1.0]]), np.float32([[0.0, 0.5], [-1.0, 0.0]])
    loss = functools.partial(gail.discriminator_loss, lambda params, x: x @ params, gradient_penalty=0.5)
    total, metrics = jax.jit(loss)(np.float32([3, 4]), expert, np.float32([3, 1]), policy, jax.random.key(0))
    # Logits (3, -4) of the expert, with weights 3 / 2 and 1 / 2, and (2, -3) of the policy.
    losses = np.array([1.5, 0.5]) * np.log1p(np.exp([-3.0, 4.0])) + np.log1p(np.exp([2.0, -3.0]))
    assert float(total) == pytest.approx(losses.mean() + 0.5 * 16, rel=1e-5)
    assert float(metrics["d_loss"].compute()) == pytest.approx(losses.mean(), rel=1e-5)
    assert float(metrics["d_penalty"].compute()) == pytest.approx(16, rel=1e-5)
    assert float(metrics["d_right"].compute()) == 0.5  # the first of the expert's, the second of the policy's


def rollout_of_two_steps(terminated):
    """Two steps of two instances, that see 1 to 4 and take the actions 0, 1, 1, 0."""
    seen = jnp.float32([[[1], [2]], [[3], [4]]])
    none, over = jnp.zeros((2, 2)), jnp.array(terminated)
    return Rollout(seen, jnp.array([[0, 1], [1, 0]]), none, none, none + 7, over, over, none + 5)


def test_ends_of_a_rollout_are_candidates_of_their_own():
    data = rollout_of_two_steps([[False, True], [False, False]])
    environment = SimpleNamespace(num_actions=2, action_size=0, observation_shape=(1,))
    steps = [[1, 1, 0, 0], [2, 0, 1, 0], [3, 0, 1, 0], [4, 1, 0, 0]]  # the observation, two actions, the flag
    run = jax.jit(lambda data, absorbing: gail._candidates(environment, data, absorbing))
    for absorbing in (True, False):
        rows, weights = run(data, absorbing)
        np.testing.assert_array_equal(rows, steps + [[0, 0, 0, 1]] * 4)
        np.testing.assert_array_equal(weights, [1, 1, 1, 1, 0, absorbing, 0, 0])
    vectors = SimpleNamespace(num_actions=None, action_size=2, observation_shape=(3, 1))
    np.testing.assert_array_equal(gail._absorbing_state(vectors, 2), [[0] * 5 + [1]] * 2)


def test_the_reward_of_imitation_takes_the_place_of_the_environment_s():
    """The reward is the sum of the features: 1 of each action, and of the absorbing state 1 for ever, 1 / (1 - 3/4)."""
    data = rollout_of_two_steps([[False, True], [False, False]])
    environment = SimpleNamespace(num_actions=2, action_size=0, observation_shape=(1,))

    def reward_of(x):
        return x.sum(-1)

    @jax.jit
    def run(data):
        return [gail._with_imitation_reward(reward_of, environment, data, 0.75, absorbing) for absorbing in (1, 0)]

    found, ends = run(data)
    np.testing.assert_array_equal(found.reward, [[2, 3], [4, 5]])
    np.testing.assert_array_equal(found.next_value, [[5, 4], [5, 5]])
    assert not found.terminated.any()
    assert found.done[0, 1]
    np.testing.assert_array_equal(ends.reward, found.reward)
    np.testing.assert_array_equal(ends.next_value, data.next_value)
    np.testing.assert_array_equal(ends.terminated, data.terminated)


def test_the_discriminator_takes_its_steps_on_as_many_candidates_as_demonstrations():
    """A candidate of weight 0 is never drawn, the others are 1: two steps of SGD at 1/2 along 4 x 4 x 1 each."""
    drawn = []

    def loss(params, expert, weight, policy, key):
        drawn.append((expert.shape, weight.shape, policy.shape))
        return -params * policy.sum() * expert.sum() * weight.sum(), {"d_loss": Sum.of(policy.sum(-1))}

    state = SimpleNamespace(discriminator=jnp.float32(0), discriminator_opt_state=optax.sgd(0.5).init(jnp.float32(0)))
    state.replace = lambda **fields: SimpleNamespace(**fields)
    expert = np.ones((4, 1), np.float32), np.full(4, 0.25, np.float32)
    pool = jnp.float32([[100], [1], [1]]), jnp.float32([0, 1, 3])

    @jax.jit
    def run(key):
        new, metrics = gail._update_discriminator(loss, optax.sgd(0.5), 2, state, expert, pool, key)
        return new.discriminator, metrics

    discriminator, metrics = run(jax.random.key(0))
    assert set(drawn) == {((4, 1), (4,), (4, 1))}
    assert float(discriminator) == pytest.approx(2 * 0.5 * 4 * 4)
    assert int(metrics["d_loss"].count) == 8
    assert metrics["d_loss"].compute() == pytest.approx(1)
    assert gail._update_discriminator(loss, optax.sgd(0.5), 0, state, expert, pool, jax.random.key(0))[1] == {}


class Slope(nn.Module):
    """A logit in proportion to what is observed."""

    @nn.compact
    def __call__(self, x):
        return x[..., 0] * self.param("w", nn.initializers.ones, ())


def test_the_policy_learns_from_the_reward_of_the_updated_discriminator():
    """The discriminator steps first, and its new reward softplus(w), times 1 - gamma, is what the policy learns from.

    Episodes of two steps see 1, which the policy's candidates have, too; w descends the cross-entropy and the penalty
    0.2 (|w| - 1)^2. One pass of PPO over one minibatch has ratios of 1.
    """
    rate, gamma, gae_lambda, value = 0.5, 0.9, 0.8, 0.4
    learner = build(
        constant_reward(True, reward=9.0, every=2), model=TwoActions(), discriminator=Slope(), absorbing=False,
        optimizer=optax.sgd(rate), discriminator_optimizer=optax.sgd(rate), discriminator_steps=1, num_steps=2,
        gradient_penalty=0.2, gae=GAE(gamma, gae_lambda), ppo=PPO(1, 1, 0.1, vf_coef=0.3, ent_coef=0.2),
    )  # fmt: skip
    seen, weight = np.float32([[2], [1], [0.5]]), np.float32([1, 2, 1])
    rows = Source.indices(2)[np.arange(2)]
    shown = {"observation": seen, "action": np.array([0, 1, 1]), "absorbing": np.zeros(3, bool), "weight": weight}
    batch = {"environments": rows, "demonstrations": shown | {"index": np.arange(3)}}
    logits = np.array([0.2, -0.5], np.float32)
    state = zeros_of(learner, batch).replace(
        observation=np.ones((2, 1), np.float32), discriminator={"w": np.float32(0.5)},
        params={"logits": logits, "value": np.float32(value)},
    )  # fmt: skip
    assert learner.classes(state, batch) == {"action": 2}

    @jax.jit
    def run(state):
        acting = jax.random.fold_in(jax.random.fold_in(state.rng, 0), 0)
        after, metrics = learner.update(state, batch)
        return after.replace(rng=None), metrics, chosen_actions(acting, logits)

    after, metrics, actions = jax.device_get(run(state))
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    real = -(weight / weight.mean()) * sigmoid(-0.5 * seen[:, 0]) * seen[:, 0]
    w = 0.5 - rate * (real.mean() + sigmoid(0.5) + 0.2 * 2 * (0.5 - 1))
    np.testing.assert_allclose(after.discriminator["w"], w, rtol=1e-5)
    paid = np.log1p(np.exp(w))
    assert metrics["reward"].compute() == pytest.approx(paid, rel=1e-5)
    assert metrics["return"].compute() == 18
    reward = (1 - gamma) * paid
    last = reward - value
    advantage = np.array([reward + gamma * value - value + gamma * gae_lambda * last, last])
    new_value = value + rate * 0.3 * advantage.mean()  # targets are A + V
    np.testing.assert_allclose(after.params["value"], new_value, rtol=1e-5)
    normalized = ((advantage - advantage.mean()) / advantage.std())[:, None, None]
    p = np.exp(logits) / np.exp(logits).sum()
    entropy_slope = -p * (np.log(p) - (p * np.log(p)).sum())
    climb = (normalized * (np.eye(2)[actions] - p)).mean((0, 1)) + 0.2 * entropy_slope
    np.testing.assert_allclose(after.params["logits"], logits + rate * climb, rtol=1e-4)
