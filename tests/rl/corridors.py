"""Environments whose values are known."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.learner import Learner
from dlcore.rl import mdp
from dlcore.rl.distributions import Categorical
from dlcore.rl.environments import Environment, Step


def constant_reward(terminates: bool, action_size: int = 0, reward: float = 1.0, every: int = 1) -> Environment:
    """One state, a constant reward, episodes of `every` steps that are over, or cut off by time.

    Its value is r where the first step is the last, and r / (1 - gamma) where time alone ends an episode.
    """

    def reset(key):
        return jnp.zeros((), jnp.int32), jnp.ones(1)

    def step(key, time, action):
        done = time + 1 >= every
        no = jnp.zeros_like(done)
        out = Step(
            jnp.ones(1), jnp.float32(reward), done if terminates else no, no if terminates else done, jnp.ones(1)
        )
        return jnp.where(done, 0, time + 1).astype(jnp.int32), out

    bounds = (-np.ones(action_size, np.float32), np.ones(action_size, np.float32)) if action_size else (None, None)
    return Environment("constant", reset, step, None if action_size else 2, (1,), every, *bounds)


def chain(observations: np.ndarray, max_steps: int = 5) -> Environment:
    """States 0, 1, 2 in a row, the last an end; action 1 goes on for a reward of 1 + s, and 0 stays for nothing."""
    process = mdp.make(
        [[[0], [1]], [[1], [2]], [[2], [2]]], np.ones((3, 2, 1)), [[[0], [1]], [[0], [2]], [[0], [0]]],
        gamma=0.5, absorbing=[2], start=np.array([1.0, 0, 0]),
    )  # fmt: skip
    return mdp.as_environment(process, max_steps, observations)


def zeros_of(learner: Learner, rows: dict) -> Any:
    """The learner's state with zeros everywhere but in its key; nothing is compiled."""
    shapes = jax.eval_shape(learner.init, jax.random.key(0), rows).replace(rng=None)
    return jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes).replace(rng=jax.random.key(0))


def target(action_size: int = 1, best: float = 0.4) -> Environment:
    """One step of one state: the reward is minus the squared distance of the action from the best one."""

    def reset(key):
        return jnp.zeros((), jnp.int32), jnp.ones(1)

    def step(key, state, action):
        yes, no = jnp.array(True), jnp.array(False)
        return state, Step(jnp.ones(1), -jnp.square(action - best).sum(), yes, no, jnp.ones(1))

    bounds = (-np.ones(action_size, np.float32), np.ones(action_size, np.float32))
    return Environment("target", reset, step, None, (1,), 1, *bounds)


class TwoActions(nn.Module):
    """A policy of two logits and a value, in proportion to the one number that is observed."""

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[Categorical, jax.Array]:
        logits = self.param("logits", nn.initializers.zeros, (2,))
        return Categorical(x * logits), x[:, 0] * self.param("value", nn.initializers.zeros, ())


def chosen_actions(rng: jax.Array, logits: jax.Array, steps: int = 2, instances: int = 2) -> jax.Array:
    """The actions [T, N] that a rollout with this key draws from constant logits."""

    def draw(t, i):
        return jax.random.categorical(jax.random.split(jax.random.fold_in(jax.random.fold_in(rng, i), t))[0], logits)

    return jax.vmap(lambda t: jax.vmap(lambda i: draw(t, i))(jnp.arange(instances)))(jnp.arange(steps))
