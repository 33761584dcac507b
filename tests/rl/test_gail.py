"""Rewards and features by hand, what an end is worth, and a rule that is learnt from its examples without a reward."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.data.source import Source
from dlcore.optim import create_optimizer
from dlcore.rl import demonstrations, gail, networks
from dlcore.rl.environments import Environment, Step

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
        model=networks.actor_critic(environment, 8),
        optimizer=create_optimizer("adam", 1e-2),
        discriminator_optimizer=create_optimizer("adam", 3e-2),
        environment=environment,
        num_steps=8,
        normalize_observation=False,
        **{"discriminator": gail.Discriminator(8)} | options,
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
@pytest.mark.parametrize(("absorbing", "terminated"), [(False, 0.5), (True, 1.5)])
def test_a_constant_reward_is_worth_r_over_1_minus_gamma_unless_the_end_is_the_end(absorbing, terminated):
    """Rewards are r = log 2, and 2 r of the absorbing state; gamma is 1/2, and the policy learns from r / 2.

    Cut off by time: V = r / 2 / (1 - gamma) = r. Terminated: V = r / 2, and with an absorbing state half of 2 r more.
    """
    known = {"discriminator": Known(), "discriminator_steps": 0}
    learner = build(ends(), absorbing=absorbing, gamma=0.5, vf_coef=1.0, **known)
    state = trained(learner, 80)(batch_of(lambda x: (x > 0).astype(int)))
    r = np.log(2)
    _, value = networks.actor_critic(ends(), 8).apply({"params": state.params}, jnp.array([[0.0], [1.0]]))
    np.testing.assert_allclose(value, [r, terminated * r], atol=0.03)


class Line(nn.Module):
    """A logit for the absorbing state and one for all else."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(1)(x[..., -1:])[..., 0]


@pytest.mark.slow
def test_the_end_of_a_sub_sampled_episode_weighs_what_its_steps_do():
    """Of the policy's rows a third are ends, and so are half of the expert's, of weight w: odds 3 w / (1 + w)."""
    half = np.arange(LIGHTS) % 2 == 0
    for weight in (0.05, 0.5):
        learner = build(ends(), discriminator=Line(), discriminator_steps=20, gradient_penalty=0.0, gamma=0.5)
        batch = batch_of(lambda x: (x > 0).astype(int))
        batch["demonstrations"] |= {"absorbing": half, "weight": np.where(half, weight, 1).astype(np.float32)}
        (layer,) = trained(learner, 20)(batch).discriminator.values()
        logit = float(layer["kernel"][0, 0] + layer["bias"][0])
        np.testing.assert_allclose(logit, np.log(3 * weight / (1 + weight)), atol=0.25)


@pytest.mark.slow
@pytest.mark.covers("RL-09")
def test_a_rule_is_learnt_from_examples_alone():
    """Press 1 where the light is bright, or where it is not; the environment gives no reward."""
    environment = lights()
    learner = build(environment, gamma=0.5, discriminator_steps=8, gradient_penalty=0.1)
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
        build(lights(), gamma=1.0)
    with pytest.raises(
        ValueError, match=r"gamma=1\.0: absorbing states go on forever; allowed: below 1, or absorbing=Fa"
    ):
        build(ends(), gamma=1.0)
    with pytest.raises(ValueError, match="reward='zero': unknown; allowed: positive, negative"):
        build(ends(), reward="zero")
