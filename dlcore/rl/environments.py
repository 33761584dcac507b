"""Environments as pure functions of one instance, from gymnax (Lange 2022); the caller maps over instances.

An episode ends by `terminated` (the task is over: nothing is worth anything after it) or `truncated` (time is up: the
value of where it stopped still counts). `step` then starts the next episode, and `final` keeps the observation that the
old one ended with.
"""

import difflib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

__all__ = ["Environment", "Step", "make", "play"]


class Step(NamedTuple):
    """What one action led to.

    observation: of the next step, a new episode's where the old one ended. reward: [] float32. terminated, truncated:
    [] bool. final: the observation that the action led to, before any new episode.
    """

    observation: jax.Array
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    final: jax.Array


class Environment(NamedTuple):
    """reset: key -> (state, observation). step: (key, state, action) -> (state, Step)."""

    name: str
    reset: Callable[[jax.Array], tuple[Any, jax.Array]]
    step: Callable[[jax.Array, Any, jax.Array], tuple[Any, Step]]
    num_actions: int
    observation_shape: tuple[int, ...]
    max_steps: int


def make(name: str) -> Environment:
    """An environment of gymnax with discrete actions, such as "CartPole-v1" or "Breakout-MinAtar".

    Raises:
      ImportError: gymnax is not installed.
      ValueError: there is no such environment (close names are listed), or its actions are not discrete.
    """
    try:
        import gymnax
    except ImportError as error:
        raise ImportError("environments need gymnax: python -m pip install 'dlcore[rl]'") from error
    if name not in gymnax.registered_envs:
        near = difflib.get_close_matches(name, gymnax.registered_envs)
        raise ValueError(f"environment={name!r} is unknown{f'; did you mean {near}?' if near else ''}")
    env, params = gymnax.make(name)
    num_actions = getattr(env.action_space(params), "n", None)
    if num_actions is None:
        raise ValueError(f"environment={name!r} has continuous actions; discrete ones are allowed")

    def reset(key):
        observation, state = env.reset(key, params)
        return _strong(state), _strong(observation)

    def step(key, state, action):
        observation, state, reward, terminated, truncated, info = env.step(key, state, action, params)
        parts = Step(observation, reward.astype("float32"), terminated, truncated, info["final_observation"])
        return _strong(state), _strong(parts)

    shape = tuple(jax.eval_shape(lambda k: env.reset(k, params)[0], jax.random.key(0)).shape)
    return Environment(name, reset, step, int(num_actions), shape, int(params.max_steps_in_episode))


def _strong(tree: Any) -> Any:
    return jax.tree.map(lambda x: jax.lax.convert_element_type(x, jax.numpy.asarray(x).dtype), tree)


def play(
    environment: Environment, policy: Callable[[jax.Array, jax.Array], jax.Array], key: jax.Array, max_steps: int
) -> tuple[jax.Array, jax.Array]:
    """(return, length) of one episode of at most `max_steps` steps under `policy(key, observation) -> action`."""
    import jax.numpy as jnp

    state, observation = environment.reset(jax.random.fold_in(key, 0))

    def step(carry, t):
        state, observation, going = carry
        keys = jax.random.split(jax.random.fold_in(key, t + 1))
        state, out = environment.step(keys[0], state, policy(keys[1], observation))
        after = going & ~(out.terminated | out.truncated)
        return (state, out.observation, after), (jnp.where(going, out.reward, 0.0), going)

    _, (rewards, alive) = jax.lax.scan(step, (state, observation, jnp.array(True)), jnp.arange(max_steps))
    return rewards.sum(), alive.sum(dtype=jnp.int32)
