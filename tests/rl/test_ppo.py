"""Advantages and the clipped objective by hand; the pole is balanced."""

from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.data.pipeline import Pipeline
from dlcore.data.source import Source
from dlcore.learner import Sum
from dlcore.optim import create_optimizer
from dlcore.rl import environments, mdp, networks, ppo, rollout
from dlcore.rl.distributions import Categorical
from dlcore.rl.rollout import Rollout
from dlcore.run import Placement, evaluate, fit, make_mesh
from tests.rl.corridors import TwoActions, chain, chosen_actions, constant_reward, zeros_of


def one_device() -> Placement:
    return Placement(make_mesh("data:1", jax.devices()[:1]))


def test_advantages_by_hand():
    # gamma = 0.5, lambda = 0.5. delta_2 = 3 + 0 - 1 = 2 (terminated: its next value does not count)
    # delta_1 = 2 + 0.5 * 1 - 2 = 0.5, A_1 = 0.5 + 0.25 * 2 = 1
    # delta_0 = 1 + 0.5 * 2 - 1 = 1, A_0 = 1 + 0.25 * 1 = 1.25
    advantage = rollout.generalized_advantages(
        reward=jnp.array([1.0, 2.0, 3.0]),
        value=jnp.array([1.0, 2.0, 1.0]),
        next_value=jnp.array([2.0, 1.0, 99.0]),
        terminated=jnp.array([False, False, True]),
        done=jnp.array([False, False, True]),
        gamma=0.5,
        gae_lambda=0.5,
    )
    np.testing.assert_allclose(advantage, [1.25, 1.0, 2.0], rtol=1e-6)


def test_an_episode_cut_off_by_time_keeps_its_value_but_not_what_follows():
    # delta_1 = 0 + 1 * 7 - 0 = 7;  delta_0 = 1 + 1 * 10 - 4 = 7, done: A_0 = delta_0, although A_1 = 7
    arguments = {
        "reward": jnp.array([1.0, 0.0]),
        "value": jnp.array([4.0, 0.0]),
        "next_value": jnp.array([10.0, 7.0]),
        "gamma": 1.0,
        "gae_lambda": 1.0,
    }
    no = jnp.array([False, False])
    cut = rollout.generalized_advantages(**arguments, terminated=no, done=jnp.array([True, False]))
    np.testing.assert_allclose(cut, [7.0, 7.0])
    # terminated: delta_0 = 1 + 0 - 4 = -3
    over = rollout.generalized_advantages(
        **arguments, terminated=jnp.array([True, False]), done=jnp.array([True, False])
    )
    np.testing.assert_allclose(over, [-3.0, 7.0])


@pytest.mark.covers("RL-08")
@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope"),
    [
        (1.0, 2.0, -2.0, -2.0),  # inside: -rho A, and d/dlog_prob = -rho A
        (1.5, 2.0, -2.4, 0.0),  # too far up and good: clipped at 1.2, no gradient
        (0.5, 2.0, -1.0, -1.0),  # too far down and good: the smaller is unclipped
        (1.5, -2.0, 3.0, 3.0),  # too far up and bad: the smaller is unclipped
        (0.5, -2.0, 1.6, 0.0),  # too far down and bad: clipped at 0.8
    ],
)
def test_clipped_objective_by_hand(ratio, advantage, loss, slope):
    old = jnp.float32(-1.0)
    new = old + jnp.log(ratio)
    value, gradient = jax.value_and_grad(ppo.clipped_surrogate_loss)(new, old, jnp.float32(advantage), 0.2)
    assert value == pytest.approx(loss, rel=1e-6)
    assert gradient == pytest.approx(slope, rel=1e-6)


def test_in_use_the_most_probable_action_of_what_is_normalized_is_taken():
    """Action 1 is the likelier where s + 1 is positive, for 1 + 2; of s alone action 0 would stay in state 0."""
    learner = ppo.learner(
        model=TwoActions(), optimizer=optax.sgd(0.0), environment=chain(np.arange(3.0)[:, None]),
        normalization=rollout.Normalization(normalize_observation=True),
    )  # fmt: skip
    rows = Source.indices(1)[np.arange(1)]
    state = zeros_of(learner, rows)
    moments = state.normalizer.observation
    moments = moments.replace(mean=np.full_like(moments.mean, -1), variance=np.ones_like(moments.variance))
    state = state.replace(
        params={"logits": np.float32([-1, 1]), "value": np.float32(0)},
        normalizer=state.normalizer.replace(observation=moments),
    )
    metrics = jax.jit(learner.evaluate)(state, rows)
    assert (metrics["return"].compute(), metrics["length"].compute()) == (3, 2)


def test_minibatches_that_do_not_divide_are_an_error():
    environment = environments.make("CartPole-v1")
    learner = ppo.learner(
        model=networks.ActorCritic(2, 8),
        optimizer=create_optimizer("adam", 1e-3),
        environment=environment,
        num_steps=5,
        ppo=ppo.PPO(num_minibatches=4),
    )
    batch = Source.indices(3)[np.arange(3)]
    with pytest.raises(ValueError, match="num_minibatches=4: not a divisor; allowed: divisors of 15"):
        jax.eval_shape(learner.update, jax.eval_shape(learner.init, jax.random.key(0), batch), batch)


def test_a_minibatch_of_one_step_is_refused():
    """Its advantage minus the mean is 0, so the policy would never move; of two steps it is -1 and 1."""

    def objective(count):
        policy = Categorical(jnp.zeros((count, 2)))
        data = Rollout(*[jnp.zeros(count)] * 8)._replace(action=jnp.zeros(count, jnp.int32))
        advantage = jnp.arange(count, dtype=jnp.float32)
        return ppo.objective(policy, jnp.zeros(count), data, advantage, jnp.zeros(count), ppo.PPO(num_minibatches=8))

    with pytest.raises(
        ValueError, match=r"num_minibatches=8: a minibatch of one step, .*; allowed: .* at least 2 steps"
    ):
        objective(1)
    # ratio = 1/2, from log 1/2 - 0; -min(-1/2, -0.8) = 0.8 and -min(1/2, 0.8) = -1/2: a mean of 0.15.
    assert float(objective(2)[1]["policy_loss"].compute()) == pytest.approx(0.15, abs=1e-6)


def test_each_epoch_takes_every_step_once_in_minibatches():
    """Three epochs of two minibatches of three: the slope is their mean, so that SGD at 1 goes by -2 x 3 x 2.5."""

    def loss(params, rows):
        return params * rows.mean(), {"rows": Sum.of(rows), "squares": Sum.of(rows**2)}

    state = SimpleNamespace(step=4, params=jnp.float32(0), opt_state=optax.sgd(1.0).init(jnp.float32(0)))
    state.replace = lambda **fields: SimpleNamespace(**fields)
    rows, settings = jnp.arange(6.0), ppo.PPO(num_epochs=3, num_minibatches=2)
    after, metrics = ppo.update_epochs(loss, optax.sgd(1.0), state, rows, jax.random.key(0), settings)
    assert float(after.params) == pytest.approx(-2 * 3 * 2.5)
    assert after.step == 5
    assert (float(metrics["rows"].total), int(metrics["rows"].count)) == (3 * 15, 18)
    assert float(metrics["squares"].total) == 3 * 55


@pytest.mark.covers("RL-08")
def test_a_rollout_holds_what_was_seen_done_and_expected():
    """States 0, 1, 2 in a row, the last an end, are seen by their numbers and worth ten times that.

    Action 1 goes on for a reward of 1 + the state, and the policy takes it: 0, 1, the end, 0 again.
    """
    chain = mdp.make(
        [[[0], [1]], [[1], [2]], [[2], [2]]], np.ones((3, 2, 1)), np.array([1.0, 2, 0])[:, None, None],
        gamma=0.5, absorbing=[2], start=np.array([1.0, 0, 0]),
    )  # fmt: skip
    environment, rows = mdp.as_environment(chain, 5, np.arange(3.0)[:, None]), {"index": np.arange(2)}

    def apply(params, x):
        return Categorical(jnp.broadcast_to(jnp.float32([-50, 50]), (len(x), 2))), params * x[:, 0]

    @jax.jit
    def run():
        settings = environment, lambda key, x: jnp.float32(10), optax.sgd(1.0), jax.random.key(0), rows
        state = rollout.init_runner_state(*settings, rollout.Normalization())
        return rollout.collect(apply, environment, state, jax.random.key(1), rows, 3, 0.5)

    state, data, finished = jax.device_get(run())
    np.testing.assert_array_equal(data.observation[..., 0], [[0, 0], [1, 1], [0, 0]])
    np.testing.assert_array_equal(data.action, np.ones((3, 2)))
    np.testing.assert_allclose(data.log_prob, np.zeros((3, 2)), atol=1e-6)
    np.testing.assert_array_equal(data.reward, [[1, 1], [2, 2], [1, 1]])
    np.testing.assert_array_equal(data.value, [[0, 0], [10, 10], [0, 0]])
    np.testing.assert_array_equal(data.next_value, [[10, 10], [20, 20], [10, 10]])
    np.testing.assert_array_equal(data.terminated[:, 0], [False, True, False])
    np.testing.assert_array_equal(data.done[:, 0], [False, True, False])
    assert (float(finished.total), int(finished.count)) == (6, 2)
    np.testing.assert_array_equal(state.episode_return, [1, 1])


@pytest.mark.slow
@pytest.mark.covers("RL-08")
def test_the_pole_is_balanced():
    environment = environments.make("CartPole-v1")
    learner = ppo.learner(
        model=networks.ActorCritic(environment.num_actions),
        environment=environment,
        num_steps=64,
        optimizer=create_optimizer("adam", 2.5e-3, clip_norm=0.5),
    )
    pipeline = Pipeline(Source.indices(32), 32, shuffle=False)
    result = fit(learner, pipeline, steps=90, log_every=30, placement=one_device(), progress=False)
    numbers = evaluate(learner, result.state, Source.indices(20), placement=one_device())
    assert result.history[0]["return"] < 200
    assert numbers["return"] >= 490
    chex.assert_shape(result.state.episode_return, (32,))


def test_advantages_far_from_0_are_normalized():
    """-1600.5, -1600, -1599.5 have the variance 1/6, so ±.5 becomes ±.5 sqrt 6 = ±1.2247; dL/dlogp = -A / 3."""

    def loss(log_prob):
        policy = SimpleNamespace(log_prob=lambda action: log_prob, entropy=lambda: jnp.zeros(3))
        data = SimpleNamespace(action=None, log_prob=jnp.zeros(3))
        return ppo.objective(policy, jnp.zeros(3), data, jnp.array([-1600.5, -1600, -1599.5]), jnp.zeros(3), ppo.PPO())[
            0
        ]

    np.testing.assert_allclose(-3 * jax.jit(jax.grad(loss))(jnp.zeros(3)), [-1.2247, 0, 1.2247], atol=1e-3)


@pytest.mark.covers("RL-08")
def test_one_update_by_hand():
    """Two passes over one rollout: in the second some ratios have left 1 +- eps, and their gradient is cut."""
    value, rate, eps, instances = 0.5, 8.0, 0.1, 4
    learner = ppo.learner(
        model=TwoActions(), optimizer=optax.sgd(rate), environment=constant_reward(True, reward=2.0, every=2),
        num_steps=2, gae=rollout.GAE(0.9, 0.8), ppo=ppo.PPO(2, 1, eps, vf_coef=0.3, ent_coef=0.2),
    )  # fmt: skip
    rows = Source.indices(instances)[np.arange(instances)]
    shapes = jax.eval_shape(learner.init, jax.random.key(0), rows).replace(rng=None)
    logits = np.array([0.2, -0.5], np.float32)
    before = {"logits": logits, "value": np.float32(value)}
    state = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes).replace(
        rng=jax.random.key(3), observation=np.ones((instances, 1), np.float32), params=before
    )

    @jax.jit
    def run(state):
        root = jax.random.fold_in(jax.random.fold_in(jax.random.key(3), 0), 0)
        return learner.update(state, rows)[0].params, chosen_actions(root, logits, instances=instances)

    after, action = jax.device_get(run(state))
    # delta_1 = 2 - V where the episode ends, delta_0 = 2 + 0.9 V - V, A_0 = delta_0 + 0.9 x 0.8 delta_1
    last = 2 - value
    advantage = np.array([[2 + 0.9 * value - value + 0.72 * last], [last]]).repeat(instances, 1)  # [T, N]
    target = advantage + value
    normalized = (advantage - advantage.mean()) / advantage.std()

    def log_softmax(logits):
        return logits - np.log(np.exp(logits).sum())

    def loss(first, second, value):
        log_p = log_softmax(np.array([first, second]))
        ratio = np.exp(log_p[action] - log_softmax(logits.astype(float))[action])
        kept = np.minimum(ratio * normalized, np.clip(ratio, 1 - eps, 1 + eps) * normalized)
        entropy = -(np.exp(log_p) * log_p).sum()
        return (-kept + 0.3 * (value - target) ** 2 / 2 - 0.2 * entropy).mean(), ratio

    new = np.array([*logits, value], float)
    for _ in range(2):
        ratio = loss(*new)[1]
        new = new - rate * np.array([(loss(*new + e)[0] - loss(*new - e)[0]) / 2e-6 for e in 1e-6 * np.eye(3)])
    assert ((ratio - 1) * np.sign(normalized) > eps).any(), "the second pass must meet a ratio that is clipped"
    np.testing.assert_allclose([*after["logits"], after["value"]], new, rtol=1e-4, atol=1e-5)
