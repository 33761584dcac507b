"""A2C, SAC, TD3, DDPG and recurrent PPO: values after time-outs and ends, known optima, and what is refused.

About 60 CPU seconds: the steps of seven learners are compiled for two environments each.
"""

import dataclasses
import types

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.data.source import Source
from dlcore.optim import create_optimizer
from dlcore.rl import a2c, dqn, environments, networks, ppo, recurrent_ppo, sac, td3
from dlcore.rl.distributions import Categorical, TanhGaussian
from dlcore.rl.off_policy import OffPolicy, OffPolicyState, td_target
from dlcore.rl.replay import Transition
from dlcore.rl.rollout import GAE, Normalization
from dlcore.rl.td3 import TD3
from tests.experiment.arguments import arguments_of
from tests.rl.corridors import TwoActions, chosen_actions, constant_reward, target

GAMMA = 0.8
LEARNERS = {
    "a2c": (a2c.learner, networks.actor_critic, {"num_rollouts": 200, "num_steps": 5}, 0, 2),
    "ppo": (ppo.learner, networks.actor_critic, {"num_steps": 16, "num_epochs": 20}, 0, 20),
    "recurrent_ppo": (
        recurrent_ppo.learner,
        networks.recurrent_actor_critic,
        {"num_steps": 16, "num_epochs": 40},
        0,
        8,
    ),
    "dqn": (dqn.learner, networks.q_network, {"num_steps": 600, "target_update_interval": 5}, 0, 1),
    "sac": (sac.learner, networks.actor_twin_critic, {"num_steps": 600, "tau": 0.05}, 1, 1),
    "discrete sac": (sac.learner, networks.actor_twin_critic, {"num_steps": 600, "tau": 0.05}, 0, 1),
    "td3": (td3.learner, networks.actor_twin_critic, {"num_steps": 600, "tau": 0.05}, 1, 1),
}


def trained(learner, network, environment, updates, width=8, learning_rate=0.01, **fields):
    """The state after some updates, the model, the learner and the last metrics."""
    model, instances = network(environment, width=width), 4
    made = learner(
        model=model,
        environment=environment,
        optimizer=create_optimizer("adam", learning_rate),
        **arguments_of(learner, gamma=GAMMA, **fields),
    )
    batch = Source.indices(instances)[np.arange(instances)]
    state, update = jax.jit(made.init)(jax.random.key(0), batch), jax.jit(made.update)
    for _ in range(updates):
        state, metrics = update(state, batch)
    return state, model, made, metrics


def value_of(name, state, model):
    """The value of the one observation."""
    x, params = jnp.ones((1, 1)), {"params": state.params}
    if name == "dqn":
        return float(model.apply(params, x).max())
    if name == "recurrent_ppo":
        return float(model.apply(params, model.memory(1), x)[1][1][0])
    if "sac" in name or name == "td3":
        return float(model.apply(params, x)[1].mean())
    return float(model.apply(params, x)[1][0])


@pytest.mark.slow
@pytest.mark.weekly(unless=["a2c-True"])
@pytest.mark.parametrize("terminates", [False, True])
@pytest.mark.parametrize("name", LEARNERS)
def test_an_end_by_time_counts_the_value_of_what_follows(name, terminates):
    learner, network, fields, action_size, updates = LEARNERS[name]
    if "sac" in name:  # without its reward of entropy
        fields = {**fields, "initial_temperature": 1e-6, "learn_temperature": False}
    if name in ("sac", "discrete sac", "td3", "dqn"):
        fields = {**fields, "buffer_size": 64, "minibatch_size": 16, "learning_starts": 4}
    # A memory meets steps behind the first only in longer episodes.
    every = 8 if name == "recurrent_ppo" and not terminates else 1
    environment = constant_reward(terminates, action_size, every=every)
    state, model, *_ = trained(learner, network, environment, updates, **fields)
    # r / (1 - gamma) = 5 where time alone ends episodes; r = 1 where the first step is the last.
    assert value_of(name, state, model) == pytest.approx(1.0 if terminates else 5.0, rel=0.06)


@pytest.mark.weekly
@pytest.mark.covers("RL-07")
@pytest.mark.parametrize("kind", ["sac", "td3"])
def test_the_best_vector_is_found(kind):
    learner = sac.learner if kind == "sac" else td3.learner
    fields = {"num_steps": 500, "buffer_size": 256, "minibatch_size": 64, "learning_starts": 50}
    fields |= {"exploration_noise": 0.5, "tau": 0.02} if kind == "td3" else {}
    state, model, made, metrics = trained(learner, networks.actor_twin_critic, target(2, 0.4), 2, width=32, **fields)
    policy, _ = model.apply({"params": state.params}, jnp.ones((1, 1)))
    np.testing.assert_allclose(policy.mode()[0], 0.4, atol=0.15)
    batch = Source.indices(4)[np.arange(4)]
    assert (jax.jit(made.predict)(state, batch)["return"] > -0.05).all()
    if kind == "sac":  # the temperature holds the entropy at -A; uniform actions have 2 log 2 = 1.4
        assert metrics["entropy"].compute() == pytest.approx(-2.0, abs=0.6)


@pytest.mark.slow
def test_sac_starts_at_its_temperature_and_td3_with_copies_of_its_networks():
    environment = constant_reward(False, 1)
    model, batch = networks.actor_twin_critic(environment, width=2), Source.indices(2)[np.arange(2)]
    shared = {"model": model, "environment": environment, "optimizer": optax.sgd(0.1, momentum=0.9)}
    init = jax.jit(sac.learner(**shared, initial_temperature=0.25).init)
    state = init(jax.random.key(0), batch)
    assert float(state.params["log_temperature"]) == pytest.approx(np.log(0.25))
    assert set(state.opt_state) == {"actor", "critic", "log_temperature"}
    chex.assert_trees_all_equal(state.target_params, {"critic": state.params["critic"]})
    state = jax.jit(td3.learner(**shared).init)(jax.random.key(0), batch)
    assert (set(state.opt_state), int(state.opt_state["count"])) == ({"actor", "critic", "count"}, 0)
    chex.assert_trees_all_equal(state.target_params, state.params)


@pytest.mark.weekly
@pytest.mark.parametrize("name", ["ppo", "recurrent_ppo"])
def test_a_policy_of_vectors_moves_to_the_best_one(name):
    """Slowly: at a rate of 0.01 the deviation collapses, and the mode then drifts, whatever the seed."""
    learner, network, *_ = LEARNERS[name]
    fields = {"learning_rate": 0.002, "num_steps": 64, "num_epochs": 4, "ent_coef": 1e-3}
    state, _, made, _ = trained(learner, network, target(2, 0.4), 100, **fields)
    played = jax.jit(made.predict)(state, Source.indices(4)[np.arange(4)])
    assert (played["return"] > -0.005).all()  # minus the squared distance of the mode; that of no action is -0.32
    assert (state.params["log_std"] < -0.3).all()


@pytest.mark.covers("RL-07")
def test_the_soft_value_of_all_actions_is_that_of_their_samples():
    q = jnp.array([[[1.0, 2.0, 0.5]], [[1.5, 1.0, 3.0]]])
    p = jnp.array([[0.2, 0.5, 0.3]])
    # min_k Q = (1, 1, 0.5): sum_a p (Q - alpha log p)
    by_hand = (p[0] * (np.array([1, 1, 0.5]) - 0.3 * np.log(p[0]))).sum()
    assert sac.soft_value(q, jnp.log(p), 0.3, p)[0] == pytest.approx(float(by_hand), rel=1e-6)
    assert sac.soft_value(q[..., 2], jnp.log(p[:, 2]), 0.3)[0] == pytest.approx(0.5 - 0.3 * np.log(0.3), rel=1e-6)


@pytest.mark.slow
def test_td3_waits_with_the_actor_and_the_targets():
    environment = constant_reward(False, 1)
    made = td3.learner(
        model=networks.actor_twin_critic(environment, 8),
        environment=environment,
        optimizer=create_optimizer("adam", 0.01),
        off_policy=OffPolicy(num_steps=1, buffer_size=8, minibatch_size=4, learning_starts=0),
        td3=td3.TD3(policy_delay=2),
    )
    batch = Source.indices(4)[np.arange(4)]
    states, update = [jax.jit(made.init)(jax.random.key(0), batch)], jax.jit(made.update)
    for _ in range(2):
        states.append(update(states[-1], batch)[0])
    for part in (lambda s: s.params["actor"]["mean"], lambda s: s.target_params["critic"]):
        first, second, third = map(part, states)
        chex.assert_trees_all_equal(first, second)
        changed = jax.tree.map(lambda a, b: (a != b).any(), second, third)
        assert any(jax.tree.leaves(changed))


@pytest.mark.covers("RL-12")
def test_a_sequence_is_unrolled_as_it_was_played():
    model = networks.RecurrentActorCritic(num_actions=2, action_size=0, width=6)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 2, 4)).astype(np.float32)
    fresh = np.array([[True, False], [False, False], [False, True], [False, False], [True, False]])
    zeros = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), jax.eval_shape(lambda: model.memory(2)))
    start = jax.tree.map(lambda h: h + np.float32(0.3), zeros)

    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), zeros, x[0]))["params"]
    params = jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32), shapes)

    @jax.jit
    def unrolled(params):
        last, (policy, value) = model.apply({"params": params}, start, x, fresh, method="sequence")
        return last, policy.logits, value

    @jax.jit
    def played(params, memory, x):
        memory, (policy, value) = model.apply({"params": params}, memory, x)
        return memory, policy.logits, value

    last, logits, value = jax.device_get(unrolled(params))
    for n, pieces in enumerate([[(0, 4), (4, 5)], [(0, 2), (2, 5)]]):
        for begin, end in pieces:
            memory = jax.tree.map(lambda h: h[n : n + 1], start if begin == 0 and not fresh[0, n] else zeros)
            for t in range(begin, end):
                memory, one, v = played(params, memory, x[t, n][None])
                np.testing.assert_allclose(logits[t, n], one[0], rtol=1e-5, atol=1e-6)
                np.testing.assert_allclose(value[t, n], v[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(last[0][1], memory[0][0], rtol=1e-5, atol=1e-6)


@pytest.mark.weekly
def test_the_first_pass_meets_the_policy_that_acted():
    # With a learning rate of 0 every probability ratio is 1: the surrogate is minus the mean normalized advantage, 0.
    environment = environments.make("CartPole-v1")
    for learner, network in (
        (ppo.learner, networks.actor_critic),
        (recurrent_ppo.learner, networks.recurrent_actor_critic),
    ):
        made = learner(
            model=network(environment, 8),
            environment=environment,
            optimizer=create_optimizer("sgd", 0.0),
            num_steps=40,
            ppo=ppo.PPO(num_epochs=1, num_minibatches=1),
            normalization=Normalization(normalize_observation=True),
        )
        batch = Source.indices(4)[np.arange(4)]
        state, update = jax.jit(made.init)(jax.random.key(0), batch), jax.jit(made.update)
        for _ in range(2):
            state, metrics = update(state, batch)
        assert metrics["policy_loss"].compute() == pytest.approx(0.0, abs=2e-5)
        assert metrics["entropy"].compute() == pytest.approx(np.log(2), abs=0.01)


def test_environments_with_wrong_actions_are_refused():
    with pytest.raises(ValueError, match="continuous actions; allowed: discrete actions"):
        dqn.learner(model=None, optimizer=None, environment=environments.make("Pendulum-v1"))


def test_gamma_of_1_is_allowed_where_episodes_terminate():
    assert not environments.make("CartPole-v1").endless
    assert not environments.make("MountainCarContinuous-v0").endless
    assert environments.make("Pendulum-v1").endless


@pytest.mark.slow
def test_actions_are_scaled_to_the_units_of_the_environment():
    environment = environments.make("Pendulum-v1")
    assert (environment.num_actions, environment.action_size) == (None, 1)
    np.testing.assert_array_equal([environment.action_low, environment.action_high], [[-2.0], [2.0]])
    state, _ = environment.reset(jax.random.key(0))
    for action, torque in ((0.25, 0.5), (-1.0, -2.0), (3.0, 2.0)):
        after, out = environment.step(jax.random.key(1), state, jnp.array([action]))
        assert float(after.last_u) == pytest.approx(torque)
        chex.assert_shape(out.reward, ())


class Linear(nn.Module):
    """One number seen, one done: a policy tanh(a s + e^b noise) and two values c s + d a."""

    def setup(self):
        for name, shape in (("actor", (2,)), ("critic", (2, 2))):
            if self.is_initializing() or self.has_variable("params", name):  # the target of SAC has no actor
                setattr(self, name, self.param(name, nn.initializers.zeros, shape))

    def __call__(self, x):
        return self.policy(x)

    def policy(self, x):
        return TanhGaussian(self.actor[0] * x, jnp.full(x.shape, self.actor[1]))

    def values(self, x, action):
        return self.critic[:, :1] * x[:, 0] + self.critic[:, 1:] * action[:, 0]


ACTOR, CRITIC = np.array([0.5, -0.4], np.float32), np.array([[0.3, 0.8], [0.6, -0.5]], np.float32)
TARGET_ACTOR = np.array([-0.7, 0.2], np.float32)
TARGET_CRITIC = np.array([[1.2, -0.6], [0.7, 0.9]], np.float32)


def filled(learner, instances=1, **fields):
    """The learner's state with the given fields, and a full buffer of steps that differ, where it has one."""
    rows = Source.indices(instances)[np.arange(instances)]
    shapes = jax.eval_shape(learner.init, jax.random.key(0), rows).replace(rng=None)
    state = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)
    if hasattr(state, "replay"):
        x, a, r, y = np.random.default_rng(0).normal(size=(4, 1, 4)).astype(np.float32)
        data = state.replay.data._replace(
            observation=x[..., None],
            action=np.tanh(a)[..., None],
            reward=r,
            terminated=np.array([[False, True, False, False]]),
            next_observation=y[..., None],
        )
        fields["replay"] = state.replay.replace(data=data, written=np.int32(4))
    return rows, state.replace(rng=jax.random.key(3), observation=np.ones((instances, 1), np.float32), **fields)


def drawn(after, count):
    """The minibatch of the first gradient step, and the key of its noise."""
    draws = jax.random.split(jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(jax.random.key(3), 0), 1), 0), 1)
    minibatch, noise = jax.random.split(draws[0])
    return after.replay.sample(minibatch, count), noise


def values_by_hand(critic, x, action):
    return critic[:, 0, None] * x + critic[:, 1, None] * action


@pytest.mark.covers("RL-07")
def test_one_update_of_sac_by_hand():
    """y by the target critic, its action by the policy that learns; each part descends on its own loss."""
    alpha, gamma, tau, scale, rate = 0.7, 0.9, 0.25, 2.0, 0.1
    learner = sac.learner(
        model=Linear(), optimizer=optax.sgd(rate), environment=constant_reward(False, 1),
        off_policy=OffPolicy(1, buffer_size=4, minibatch_size=4, learning_starts=0, tau=tau, gamma=gamma,
                             reward_scale=scale),
    )  # fmt: skip
    params = {"actor": ACTOR, "critic": CRITIC, "log_temperature": np.float32(np.log(alpha))}
    rows, state = filled(learner, params=params, target_params={"critic": TARGET_CRITIC})

    @jax.jit
    def run(state):
        after, metrics = learner.update(state, rows)
        seen, key = drawn(after, 4)
        noise = [jax.random.normal(k, (4, 1))[:, 0] for k in jax.random.split(key)]
        return after.params, after.target_params, metrics, seen, noise

    after, targets, metrics, seen, (now, then) = jax.device_get(run(state))
    x, a, y = seen.observation[:, 0], seen.action[:, 0], seen.next_observation[:, 0]

    def act(actor, x, noise):
        u = actor[0] * x + np.exp(actor[1]) * noise
        log_prob = -(noise**2) / 2 - actor[1] - np.log(2 * np.pi) / 2 - np.log(1 - np.tanh(u) ** 2)
        return np.tanh(u), log_prob

    def actor_loss(actor):
        action, log_prob = act(actor, x, now)
        return (alpha * log_prob - values_by_hand(CRITIC, x, action).min(0)).mean()

    action, log_prob = act(ACTOR, y, then)
    following = values_by_hand(TARGET_CRITIC, y, action).min(0) - alpha * log_prob
    error = values_by_hand(CRITIC, x, a) - scale * seen.reward - gamma * (1 - seen.terminated) * following  # [2, 4]
    critic = CRITIC - rate * np.stack([(error * x).mean(1), (error * a).mean(1)], 1)
    actor, steps = ACTOR.astype(float), 1e-6 * np.eye(2)
    actor -= rate * np.array([(actor_loss(actor + e) - actor_loss(actor - e)) / 2e-6 for e in steps])
    entropy = -act(ACTOR, x, now)[1].mean()
    np.testing.assert_allclose(after["actor"], actor, rtol=2e-4, atol=1e-6)
    np.testing.assert_allclose(after["critic"], critic, rtol=2e-4, atol=1e-6)
    assert after["log_temperature"] == pytest.approx(np.log(alpha) - rate * (entropy + 1), rel=2e-4)  # H* = -1
    np.testing.assert_allclose(targets["critic"], TARGET_CRITIC + tau * (critic - TARGET_CRITIC), rtol=2e-4, atol=1e-6)
    assert metrics["critic_loss"].compute() == pytest.approx((error**2 / 2).sum(0).mean(), rel=1e-4)


@pytest.mark.slow
@pytest.mark.covers("RL-07")
def test_one_update_of_td3_by_hand():
    """y by both target networks and clipped noise; the actor and the targets move on every second step alone."""
    gamma, tau, scale, rate, spread, clip = 0.9, 0.25, 2.0, 0.1, 1.0, 0.4
    learner = td3.learner(
        model=Linear(), optimizer=optax.sgd(rate), environment=constant_reward(False, 1),
        td3=td3.TD3(target_noise=spread, target_noise_clip=clip),
        off_policy=OffPolicy(1, buffer_size=4, minibatch_size=4, learning_starts=0, tau=tau, gamma=gamma,
                             reward_scale=scale),
    )  # fmt: skip
    before, targets = {"actor": ACTOR, "critic": CRITIC}, {"actor": TARGET_ACTOR, "critic": TARGET_CRITIC}
    rows, waiting = filled(learner, params=before, target_params=targets)
    state = waiting.replace(opt_state=waiting.opt_state | {"count": np.int32(1)})
    update = jax.jit(learner.update)
    after, metrics = update(state, rows)

    @jax.jit
    def expected(after):
        seen, key = drawn(after, 4)
        x, a, y = seen.observation[:, 0], seen.action[:, 0], seen.next_observation[:, 0]
        noise = jnp.clip(spread * jax.random.normal(key, (4, 1))[:, 0], -clip, clip)
        action = jnp.clip(jnp.tanh(TARGET_ACTOR[0] * y) + noise, -1, 1)
        following = values_by_hand(TARGET_CRITIC, y, action).min(0)
        goal = scale * seen.reward + gamma * (1 - seen.terminated) * following

        def critic_loss(critic):
            return (((values_by_hand(critic, x, a) - goal) ** 2) / 2).sum(0).mean()

        def actor_loss(actor):
            return -values_by_hand(CRITIC, x, jnp.tanh(actor[0] * x))[0].mean()

        new = {
            "actor": ACTOR - rate * jax.grad(actor_loss)(ACTOR),
            "critic": CRITIC - rate * jax.grad(critic_loss)(CRITIC),
        }
        return new, jax.tree.map(lambda t, n: t + tau * (n - t), targets, new), critic_loss(CRITIC)

    new, moved, loss = expected(after)
    chex.assert_trees_all_close(after.params, new, rtol=2e-4, atol=1e-6)
    chex.assert_trees_all_close(after.target_params, moved, rtol=2e-4, atol=1e-6)
    assert metrics["critic_loss"].compute() == pytest.approx(float(loss), rel=1e-4)
    first = update(waiting, rows)[0]
    chex.assert_trees_all_close(first.params, {"actor": ACTOR, "critic": new["critic"]}, rtol=2e-4, atol=1e-6)
    chex.assert_trees_all_close(first.target_params, targets)


@pytest.mark.slow
@pytest.mark.covers("RL-07")
def test_one_update_of_a2c_by_hand():
    """V = 0.5, r = 2, the second step ends an episode: delta = 2 + 0.9 V - V and 2 - V, A_0 = delta_0 + 0.72 A_1."""
    value, rate = 0.5, 0.1
    learner = a2c.learner(
        model=TwoActions(), optimizer=optax.sgd(rate), environment=constant_reward(True, reward=2.0, every=2),
        num_steps=2, num_rollouts=1, gae=GAE(0.9, 0.8), vf_coef=0.3, ent_coef=0.2,
    )  # fmt: skip
    logits = np.array([0.2, -0.5], np.float32)
    before = {"logits": logits, "value": np.float32(value)}
    rows, state = filled(learner, 2, params=before)
    after, metrics = jax.jit(learner.update)(state, rows)
    assert int(after.step) == 1
    assert (metrics["return"].compute(), int(metrics["return"].count)) == (4, 2)
    last = 2 - value
    advantage = np.array([2 + 0.9 * value - value + 0.72 * last, last])[:, None]  # [T, 1]

    @jax.jit
    def expected():
        action = chosen_actions(jax.random.fold_in(jax.random.fold_in(jax.random.key(3), 0), 0), logits)

        def loss(params):
            log_p = jnp.log(jnp.exp(params["logits"]) / jnp.exp(params["logits"]).sum())
            entropy = -(jnp.exp(log_p) * log_p).sum()
            error = (params["value"] - (advantage + value)) ** 2 / 2
            return (-log_p[action] * advantage + 0.3 * error - 0.2 * entropy).mean()

        return jax.tree.map(lambda p, g: p - rate * g, before, jax.grad(loss)(before))

    chex.assert_trees_all_close(after.params, expected(), rtol=1e-4, atol=1e-6)


class Proportional:
    """pi(s) = w s, Q_k(s, a) = c_k s + a, of plain numbers; nothing compiles."""

    def apply(self, variables, x, action=None, method=None):
        params = variables["params"]
        if method == "policy":
            return types.SimpleNamespace(mode=lambda: params["actor"] * x)
        return jnp.stack([c * x[:, 0] + action[:, 0] for c in params["critic"]])


@pytest.fixture
def learn_of(monkeypatch):
    """(module, settings) -> its act and its learn, without an environment."""

    def build(module, model=Proportional(), num_actions=None, **settings):
        caught = {}
        monkeypatch.setattr(module, "check_environment", lambda *rest: None)
        monkeypatch.setattr(module, "episodes", lambda *rest: (None, None))
        monkeypatch.setattr(
            module, "off_policy_update", lambda environment, act, learn, rest: caught.update(act=act, learn=learn)
        )
        environment = types.SimpleNamespace(action_size=0 if num_actions else 1, num_actions=num_actions)
        module.learner(model=model, optimizer=optax.sgd(1.0), environment=environment, **settings)
        return caught["act"], caught["learn"]

    return build


def deterministic_state(count):
    params = {"actor": jnp.float32(0.5), "critic": jnp.float32([1.0, 2.0])}
    targets = {"actor": jnp.float32(0.25), "critic": jnp.float32([3.0, 2.5])}
    opt_state = {**{name: optax.sgd(1.0).init(part) for name, part in params.items()}, "count": jnp.int32(count)}
    state = OffPolicyState.__new__(OffPolicyState)
    values = {"params": params, "opt_state": opt_state, "target_params": targets}
    for field in dataclasses.fields(OffPolicyState):
        object.__setattr__(state, field.name, values.get(field.name))
    return state


TRANSITIONS = Transition(
    observation=jnp.float32([[2.0], [1.0]]),
    action=jnp.float32([[0.5], [-0.5]]),
    reward=jnp.float32([1.0, 3.0]),
    terminated=jnp.array([False, True]),
    next_observation=jnp.float32([[2.0], [4.0]]),
)


@pytest.mark.parametrize("kind", ["ddpg", "td3"])
def test_the_first_of_two_critics_teaches_or_the_smaller_one(learn_of, kind):
    """The target action is 0.25 * 2 = 0.5: critics of 6.5 and 5.5, of which DDPG takes the first, TD3 the smaller.

    y = 1 + 0.5 * 6.5 = 4.25 or 1 + 0.5 * 5.5 = 3.75, and 3 after the end. Q_1 = (2.5, 0.5), Q_2 = (4.5, 1.5).
    """
    off_policy = OffPolicy(gamma=0.5, tau=0.1)
    _, learn = learn_of(td3, kind=kind, td3=TD3(target_noise=0.0), off_policy=off_policy)
    y = np.array([4.25 if kind == "ddpg" else 3.75, 3.0])
    q = np.array([[2.5, 0.5], [4.5, 1.5]])
    after, metrics = learn(deterministic_state(0), TRANSITIONS, jax.random.key(0))
    np.testing.assert_allclose(metrics["critic_loss"].compute(), (0.5 * np.square(q - y)).sum(0).mean(), rtol=1e-5)
    assert float(metrics["q"].compute()) == pytest.approx(q.mean())
    # d/dc_k = mean of (Q_k - y) s.
    critic = np.array([1.0, 2.0]) - ((q - y) * [2.0, 1.0]).mean(1)
    np.testing.assert_allclose(after.params["critic"], critic, rtol=1e-5)
    # The first step of TD3's two leaves the actor and the targets; DDPG ascends d/dw = mean of s = 1.5.
    moves = kind == "ddpg"
    assert float(after.params["actor"]) == (2.0 if moves else 0.5)
    expected = 0.9 * np.array([3.0, 2.5]) + 0.1 * critic if moves else [3.0, 2.5]
    np.testing.assert_allclose(after.target_params["critic"], expected, rtol=1e-5)
    assert int(after.opt_state["count"]) == 1
    if kind == "td3":
        second, _ = learn(deterministic_state(1), TRANSITIONS, jax.random.key(0))
        assert float(second.params["actor"]) == 2.0
        assert float(second.target_params["actor"]) == pytest.approx(0.9 * 0.25 + 0.1 * 2.0)


def test_noise_is_clipped_and_so_is_the_action(learn_of):
    """Noise of a huge deviation is +-0.25 after clipping: target actions of 0.5 +- 0.25, critics of 6.25 or 5.75."""
    settings = {"td3": TD3(target_noise=1e6, target_noise_clip=0.25), "off_policy": OffPolicy(gamma=0.5)}
    act, learn = learn_of(td3, exploration_noise=1e6, **settings)
    _, metrics = learn(deterministic_state(0), TRANSITIONS, jax.random.key(0))
    q = np.array([[2.5, 0.5], [4.5, 1.5]])
    losses = [
        (0.5 * np.square(q - np.array([1 + 0.5 * value, 3.0]))).sum(0).mean() for value in (5.0 + 0.25, 5.0 + 0.75)
    ]
    assert min(abs(float(metrics["critic_loss"].compute()) - loss) for loss in losses) < 1e-4
    state = deterministic_state(0).replace(
        observation=jnp.float32([[1.0], [1.0]]), replay=types.SimpleNamespace(written=10**9)
    )
    assert set(np.abs(act(state, jax.random.split(jax.random.key(0), 2))).ravel()) == {1.0}


def test_the_objective_of_a2c_by_hand():
    """Two steps: -log pi A = (2 * 3, 1 * -1), errors (0.5 - 4)^2 / 2 and (1 - 1)^2 / 2, an entropy of 0.25 each."""
    policy = types.SimpleNamespace(
        log_prob=lambda action: jnp.float32([-2.0, -1.0]), entropy=lambda: jnp.float32([0.25, 0.25])
    )
    data = types.SimpleNamespace(
        observation=jnp.zeros((2, 1, 3)), action=jnp.zeros((2, 1), int), value=jnp.float32([[1.0], [2.0]])
    )
    total, metrics = a2c._objective(
        lambda params, x: (policy, jnp.float32([0.5, 1.0])), None, data, jnp.float32([[3.0], [-1.0]]), 0.5, 0.1
    )
    assert float(total) == pytest.approx((6 - 1) / 2 + 0.5 * 6.125 / 2 - 0.1 * 0.25)
    assert float(metrics["policy_loss"].compute()) == pytest.approx(2.5)
    assert float(metrics["value_loss"].compute()) == pytest.approx(6.125 / 2)
    assert float(metrics["entropy"].compute()) == pytest.approx(0.25)


class TwoChoices:
    """Logits w_a s of two actions and values c_ka s, of plain numbers."""

    def apply(self, variables, x, action=None, method=None):
        params = variables["params"]
        if method == "policy":
            return Categorical(params["actor"] * x)
        return params["critic"][:, None] * x


@pytest.mark.covers("RL-07")
def test_one_step_of_discrete_sac_by_hand(learn_of):
    """All actions count by their probability, the entropy is pulled to a share of log 2, and alpha may stay."""
    alpha, rate, ratio = 0.7, 1.0, 0.25
    off_policy = OffPolicy(gamma=0.9, tau=0.25, reward_scale=2.0)
    _, learn = learn_of(sac, TwoChoices(), 2, target_entropy_ratio=ratio, off_policy=off_policy)
    _, fixed = learn_of(sac, TwoChoices(), 2, learn_temperature=False, off_policy=off_policy)
    actor, critic, target = (
        np.float32([0.5, -0.4]),
        np.float32([[0.3, 0.8], [0.6, -0.5]]),
        np.float32([[1, -1], [2, 0]]),
    )
    params = {"actor": actor, "critic": critic, "log_temperature": np.float32(np.log(alpha))}
    state = deterministic_state(0).replace(
        params=params,
        opt_state={name: optax.sgd(rate).init(part) for name, part in params.items()},
        target_params={"critic": target},
    )
    x, y, action = np.float32([2, 1, -1]), np.float32([1, 3, -2]), np.array([0, 1, 1])
    reward, over = np.float32([1, -0.5, 0.2]), np.array([False, True, False])
    data = Transition(x[:, None], action, reward, over, y[:, None])
    key = jax.random.key(0)
    (after, metrics), (same, _) = jax.jit(lambda: (learn(state, data, key), fixed(state, data, key)))()

    def log_policy(s):
        logits = s[:, None] * actor
        return logits - np.log(np.exp(logits).sum(1, keepdims=True))

    def least(table, s):
        return (table[:, None] * s[:, None]).min(0)

    p = np.exp(log_policy(y))
    goal = 2 * reward + 0.9 * ~over * (p * (least(target, y) - alpha * log_policy(y))).sum(1)
    q = critic[:, action] * x  # [2, B]
    # d/dc_ka = mean of (Q_k - y) s over the steps that took a.
    moved = critic - np.stack([((q - goal) * x * (action == a)).mean(1) for a in (0, 1)], 1)
    # d/dlogit_j of sum_a p_a (alpha log p_a - min Q_a) = p_j (g_j - sum_a p_a g_a), g = alpha log p - min Q.
    p, g = np.exp(log_policy(x)), alpha * log_policy(x) - least(critic, x)
    slope = p * (g - (p * g).sum(1, keepdims=True))
    entropy = -(p * log_policy(x)).sum(1).mean()
    log_temperature = np.log(alpha) - (entropy - ratio * np.log(2))
    expected = {"actor": actor - (slope * x[:, None]).mean(0), "critic": moved, "log_temperature": log_temperature}
    chex.assert_trees_all_close(after.params, expected, rtol=1e-4, atol=1e-6)
    chex.assert_trees_all_close(after.target_params, {"critic": 0.75 * target + 0.25 * moved}, rtol=1e-5)
    chex.assert_trees_all_close(same.params, {**expected, "log_temperature": np.log(alpha)}, rtol=1e-4, atol=1e-6)
    found = {name: float(metric.compute()) for name, metric in metrics.items()}
    loss = (np.square(q - goal) / 2).sum(0).mean()
    means = {"critic_loss": loss, "q": q.mean(), "entropy": entropy, "temperature": np.exp(log_temperature)}
    assert found == pytest.approx(means, rel=1e-4)


def test_sac_plays_at_random_before_learning_starts_and_its_policy_after(learn_of):
    act, _ = learn_of(sac, TwoChoices(), 2, off_policy=OffPolicy(learning_starts=5))
    state = deterministic_state(0).replace(params={"actor": jnp.float32([60.0, -60.0])}, observation=jnp.ones((16, 1)))
    keys = jax.random.split(jax.random.key(0), 16)
    played = jax.jit(lambda written: act(state.replace(replay=types.SimpleNamespace(written=written)), keys))
    assert set(played(4).tolist()) == {0, 1}
    assert set(played(5).tolist()) == {0}


def test_a_target_by_hand_has_no_slope():
    """y = 3 r + 0.5 Q of the next state, unless the task is over."""
    data = Transition(None, None, np.float32([1, 2]), np.array([False, True]), None)

    def target(next_value):
        y = td_target(data, next_value, OffPolicy(gamma=0.5, reward_scale=3.0))
        return y.sum(), y

    (_, y), slope = jax.value_and_grad(target, has_aux=True)(jnp.array([4.0, 7.0]))
    assert y.tolist() == [5, 6]
    assert not slope.any()
