"""One update of a policy with a memory by hand: what the memory holds, when it is cleared, and what follows from it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.data.source import Source
from dlcore.rl import recurrent_ppo
from dlcore.rl.distributions import Categorical
from dlcore.rl.networks import recurrent_actor_critic
from dlcore.rl.ppo import PPO
from dlcore.rl.rollout import GAE
from tests.rl.corridors import chain, constant_reward, zeros_of

GAMMA, LAMBDA, EPS, STEPS, RATE = 0.9, 0.8, 0.1, 3, 4.0


class Leaky(nn.Module):
    """h <- c h + x; two logits and a value in proportion to h."""

    def setup(self):
        self.c, self.v = (self.param(name, nn.initializers.zeros, ()) for name in ("c", "v"))
        self.logits = self.param("logits", nn.initializers.zeros, (2,))

    def memory(self, count):
        return jnp.zeros((count, 1))

    def __call__(self, memory, x):
        memory = self.c * memory + x
        return memory, (Categorical(memory * self.logits), self.v * memory[:, 0])

    def sequence(self, memory, x, fresh):
        heard = []
        for t in range(len(x)):
            memory = self.c * jnp.where(fresh[t][:, None], 0, memory) + x[t]
            heard.append(memory)
        heard = jnp.stack(heard)
        return memory, (Categorical(heard * self.logits), self.v * heard[..., 0])


@pytest.mark.covers("RL-08")
def test_one_update_by_hand():
    """Two passes over three steps of two instances; time cuts episodes after two, and their values are bootstrapped.

    The second instance goes on with its memory of 0.7; both are cleared after the second step. What an action led to is
    valued with the memory that is not cleared.
    """
    learner = recurrent_ppo.learner(
        model=Leaky(), optimizer=optax.sgd(RATE), environment=constant_reward(False, reward=2.0, every=2),
        num_steps=STEPS, gae=GAE(GAMMA, LAMBDA), ppo=PPO(2, 1, EPS, vf_coef=0.3, ent_coef=0.2),
    )  # fmt: skip
    rows = Source.indices(2)[np.arange(2)]
    before = {"c": 0.5, "v": 0.4, "logits": [0.3, -0.5]}
    before = {name: np.array(value, np.float32) for name, value in before.items()}
    shapes = jax.eval_shape(learner.init, jax.random.key(0), rows).replace(rng=None)
    state = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes).replace(
        rng=jax.random.key(3), observation=np.ones((2, 1), np.float32), params=before,
        memory=np.full((2, 1), 0.7, np.float32), fresh=np.array([True, False]),
    )  # fmt: skip
    # h of each instance before the three steps, then after each of them.
    first = np.array([1, 0.5 * 0.7 + 1])
    memory = np.stack([first, 0.5 * first + 1, np.ones(2)])
    value, next_value = 0.4 * memory, 0.4 * (0.5 * memory + 1)
    delta = 2 + GAMMA * next_value - value
    advantage = np.stack([delta[0] + GAMMA * LAMBDA * delta[1], delta[1], delta[2]])
    target, normalized = advantage + value, (advantage - advantage.mean()) / advantage.std()

    def log_softmax(logits):
        return logits - np.log(np.exp(logits).sum(-1, keepdims=True))

    old = log_softmax(memory[..., None] * [0.3, -0.5])

    @jax.jit
    def both(state):
        root = jax.random.fold_in(jax.random.fold_in(jax.random.key(3), 0), 0)

        def draw(t, i, log_p):
            key = jax.random.split(jax.random.fold_in(jax.random.fold_in(root, i), t))[0]
            return jax.random.categorical(key, log_p)

        t, i = jnp.meshgrid(jnp.arange(STEPS), jnp.arange(2), indexing="ij")
        actions = jax.vmap(jax.vmap(draw))(t, i, jnp.float32(old))
        return learner.update(state, rows)[0].replace(rng=None), actions

    after, actions = jax.device_get(both(state))
    chosen = np.eye(2)[actions]

    def loss(c, v, *logits):
        start = c * np.array([0, 0.7]) + 1  # the memory that the rollout began with
        h = np.stack([start, c * start + 1, np.ones(2)])
        log_p = log_softmax(h[..., None] * logits)
        ratio = np.exp(((log_p - old) * chosen).sum(-1))
        kept = np.minimum(ratio * normalized, np.clip(ratio, 1 - EPS, 1 + EPS) * normalized)
        entropy = -(np.exp(log_p) * log_p).sum(-1)
        return (-kept + 0.3 * (v * h - target) ** 2 / 2 - 0.2 * entropy).mean(), ratio

    new = np.array([0.5, 0.4, 0.3, -0.5])
    for _ in range(2):
        ratio = loss(*new)[1]
        new = new - RATE * np.array([(loss(*new + e)[0] - loss(*new - e)[0]) / 2e-6 for e in 1e-6 * np.eye(4)])
    assert ((ratio - 1) * np.sign(normalized) > EPS).any(), "the second pass must meet a ratio that is clipped"
    found = [after.params["c"], after.params["v"], *after.params["logits"]]
    np.testing.assert_allclose(found, new, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(after.memory[:, 0], memory[-1])
    assert not after.fresh.any()


def test_in_use_the_memory_goes_from_step_to_step():
    """h = 1, then 2 x 1 - 1 = 1: action 1 both times, for 1 + 2. Without a memory the second number, -1, would stay."""
    observations = np.array([[1.0], [-1.0], [0.0]])
    learner = recurrent_ppo.learner(model=Leaky(), optimizer=optax.sgd(RATE), environment=chain(observations))
    rows = Source.indices(1)[np.arange(1)]
    params = {"c": np.float32(2), "v": np.float32(0), "logits": np.float32([-1, 1])}
    metrics = jax.jit(learner.evaluate)(zeros_of(learner, rows).replace(params=params), rows)
    assert (metrics["return"].compute(), metrics["length"].compute()) == (3, 2)


class Pictures(Leaky):
    """The same of pictures, all pixels of one value, with a memory of pictures and one of numbers."""

    def memory(self, count):
        return jnp.zeros((count, 3, 4, 1)), jnp.zeros(count)

    def __call__(self, memory, x):
        pictures, out = super().__call__(memory[0][:, 0, 0], x[:, 0, 0])
        return (jnp.broadcast_to(pictures[:, None, None], memory[0].shape), memory[1] + 1), out


NUMBERS = constant_reward(False, reward=2.0, every=2)


def pictures():
    """The same environment, seen as pictures."""

    def shown(x):
        return jnp.broadcast_to(x, (3, 4, 1))

    def step(key, state, action):
        state, out = NUMBERS.step(key, state, action)
        return state, out._replace(observation=shown(out.observation), final_observation=shown(out.final_observation))

    def reset(key):
        state, x = NUMBERS.reset(key)
        return state, shown(x)

    return NUMBERS._replace(reset=reset, step=step, observation_shape=(3, 4, 1))


def test_pictures_and_memories_of_any_rank_are_played_as_numbers_are():
    """Rewards, log-probabilities and both values of a rollout are those of the numbers; both memories are cleared."""
    rows, params = (
        {"index": np.arange(2)},
        {"c": jnp.float32(0.5), "v": jnp.float32(0.4), "logits": jnp.float32([1, -1])},
    )

    @jax.jit
    def run():
        found = []
        for model, environment in ((Leaky(), NUMBERS), (Pictures(), pictures())):
            learner = recurrent_ppo.learner(model=model, optimizer=optax.sgd(RATE), environment=environment)
            state = learner.init(jax.random.key(0), rows).replace(params=params)
            apply = lambda params, *inputs, model=model: model.apply({"params": params}, *inputs)  # noqa: E731
            after, data, *_ = recurrent_ppo._collect(apply, environment, state, jax.random.key(1), rows, STEPS, GAMMA)
            found.append((data._replace(observation=None), after.memory))
        return found

    (expected, memory), (data, (seen, counts)) = jax.device_get(run())
    jax.tree.map(np.testing.assert_array_equal, data, expected)
    np.testing.assert_array_equal(seen, np.broadcast_to(memory[:, None, None], (2, 3, 4, 1)))
    np.testing.assert_array_equal(counts, [1, 1])  # cleared after the second of three steps
    assert (data.next_value != data.value).any()


def test_the_network_of_an_environment_of_pictures_sees_them_through_a_convolution():
    model = recurrent_actor_critic(pictures(), 8)
    learner = recurrent_ppo.learner(model=model, optimizer=optax.sgd(RATE), environment=pictures(), num_steps=STEPS)
    rows = Source.indices(4)[np.arange(4)]
    state = jax.eval_shape(learner.init, jax.random.key(0), rows)
    assert state.params["conv"]["kernel"].shape == (3, 3, 1, 16)
    assert state.params["encoder"]["kernel"].shape == (1 * 2 * 16, 8)
    after, metrics = jax.eval_shape(learner.update, state, rows)
    assert metrics.keys() >= {"policy_loss", "value_loss", "return"}
    assert jax.eval_shape(learner.evaluate, after, rows).keys() == {"return", "length"}
