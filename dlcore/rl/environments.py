"""Environments as pure functions of one instance, from gymnax (Lange 2022), and the steps of an agent in many of them.

An episode ends by `terminated` (the task is over: no reward follows) or `truncated` (time is up: the value of the last
observation still counts). `step` then starts the next episode; `final_observation` is the last of the old one.
"""

import difflib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

from dlcore.extras import require
from dlcore.learner import Metrics, State, Sum, example_keys, mask_of

__all__ = ["AgentState", "Environment", "Step", "advance", "episodes", "make", "play", "record", "start"]


class Step(NamedTuple):
    """What one action led to.

    Args:
      observation: of the next step; a new episode's first where the old one ended.
      reward: [] float32.
      terminated: [] bool, the task is over.
      truncated: [] bool, the time is up.
      final_observation: the observation that the action led to, before any new episode.
    """

    observation: jax.Array
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    final_observation: jax.Array


class Environment(NamedTuple):
    """Pure functions of one instance of an environment with discrete actions.

    Args:
      name: as gymnax lists it.
      reset: key -> (state, observation).
      step: (key, state, action) -> (state, Step).
      num_actions: actions are 0 to num_actions - 1.
      observation_shape: of one observation.
      max_steps: after which an episode is truncated.
    """

    name: str
    reset: Callable[[jax.Array], tuple[Any, jax.Array]]
    step: Callable[[jax.Array, Any, jax.Array], tuple[Any, Step]]
    num_actions: int
    observation_shape: tuple[int, ...]
    max_steps: int


@struct.dataclass
class AgentState(State):
    """State of an agent that acts in N instances of an environment.

    Args:
      environment: states of the instances, [N, ...] each.
      observation: [N, ...], what the agent sees now.
      episode_return: [N] float32, rewards so far in the running episodes.
    """

    environment: Any
    observation: jax.Array
    episode_return: jax.Array


def make(name: str) -> Environment:
    """Build an environment of gymnax with discrete actions.

    Args:
      name: such as "CartPole-v1" or "Breakout-MinAtar".

    Returns:
      The environment.

    Raises:
      MissingPackage: gymnax is not installed.
      ValueError: there is no such environment (close names are listed), or its actions are continuous.
    """
    require("gymnax", what="an environment")
    import gymnax

    if name not in gymnax.registered_envs:
        near = difflib.get_close_matches(name, gymnax.registered_envs) or sorted(gymnax.registered_envs)
        raise ValueError(f"environment={name!r}: unknown; allowed: names of gymnax such as {', '.join(near)}")
    env, params = gymnax.make(name)
    num_actions = getattr(env.action_space(params), "n", None)
    if num_actions is None:
        raise ValueError(f"environment={name!r}: continuous actions; allowed: environments with discrete actions")

    def reset(key):
        observation, state = env.reset(key, params)
        return _strongly_typed((state, observation))

    def step(key, state, action):
        observation, state, reward, terminated, truncated, info = env.step(key, state, action, params)
        out = Step(observation, reward.astype("float32"), terminated, truncated, info["final_observation"])
        return _strongly_typed((state, out))

    shape = tuple(jax.eval_shape(lambda k: env.reset(k, params)[0], jax.random.key(0)).shape)
    return Environment(name, reset, step, int(num_actions), shape, int(params.max_steps_in_episode))


def _strongly_typed(tree: Any) -> Any:
    return jax.tree.map(lambda x: jax.lax.convert_element_type(x, jnp.asarray(x).dtype), tree)


def start(
    environment: Environment, model: nn.Module, optimizer: optax.GradientTransformation, rng: jax.Array, batch: dict
) -> AgentState:
    """Reset the instances and initialize the model.

    Args:
      environment: to act in.
      model: called with observations [N, ...].
      optimizer: of the model's parameters.
      rng: root key.
      batch: `{"index": [N]}`, one entry an instance.

    Returns:
      The state at step 0.
    """
    env_state, observation = jax.vmap(environment.reset)(example_keys(jax.random.fold_in(rng, 0), batch))
    params = model.init(jax.random.fold_in(rng, 1), observation)["params"]
    return AgentState(
        step=jnp.zeros((), jnp.int32),
        rng=jax.random.fold_in(rng, 2),
        params=params,
        opt_state=optimizer.init(params),
        environment=env_state,
        observation=observation,
        episode_return=jnp.zeros(batch["index"].shape, jnp.float32),
    )


def advance(environment: Environment, state: Any, keys: jax.Array, action: jax.Array) -> tuple[Any, Step, Sum]:
    """Take one step in every instance.

    Args:
      environment: of the instances.
      state: an `AgentState`.
      keys: [N] random keys.
      action: [N] int.

    Returns:
      (state after the step, Step of [N, ...], sum and number of the returns of episodes that ended).
    """
    env_state, out = jax.vmap(environment.step)(keys, state.environment, action)
    total, done = state.episode_return + out.reward, out.terminated | out.truncated
    finished = Sum(jnp.where(done, total, 0).sum(), done.sum(dtype=jnp.int32))
    total = jnp.where(done, 0.0, total)
    return state.replace(environment=env_state, observation=out.observation, episode_return=total), out, finished


def play(
    environment: Environment, policy: Callable[[jax.Array, jax.Array], jax.Array], key: jax.Array, max_steps: int
) -> tuple[jax.Array, jax.Array]:
    """Play one episode.

    Args:
      environment: to play in.
      policy: `(key, observation) -> action`.
      key: random key of the episode.
      max_steps: after which to stop.

    Returns:
      (return [] float32, length [] int32).
    """
    state, observation = environment.reset(jax.random.fold_in(key, 0))

    def step(carry, t):
        state, observation, running = carry
        keys = jax.random.split(jax.random.fold_in(key, t + 1))
        state, out = environment.step(keys[0], state, policy(keys[1], observation))
        still = running & ~(out.terminated | out.truncated)
        return (state, out.observation, still), (jnp.where(running, out.reward, 0.0), running)

    _, (rewards, running) = jax.lax.scan(step, (state, observation, jnp.array(True)), jnp.arange(max_steps))
    return rewards.sum(), running.sum(dtype=jnp.int32)


def record(
    environment: Environment, policy: Callable[[jax.Array], jax.Array], key: jax.Array, max_steps: int
) -> tuple[Any, jax.Array, jax.Array]:
    """Play one episode, and keep what happened.

    Args:
      environment: to play in.
      policy: `observation -> action`.
      key: random key of the episode.
      max_steps: T, after which to stop.

    Returns:
      (states [T, ...], observations [T, ...], length [] int32), each before its action; only the first `length` are of
      this episode.
    """
    state, observation = environment.reset(jax.random.fold_in(key, 0))

    def step(carry, t):
        state, observation, running = carry
        after, out = environment.step(jax.random.fold_in(key, t + 1), state, policy(observation))
        still = running & ~(out.terminated | out.truncated)
        return (after, out.observation, still), (state, observation, running)

    _, (states, observations, running) = jax.lax.scan(
        step, (state, observation, jnp.array(True)), jnp.arange(max_steps)
    )
    return states, observations, running.sum(dtype=jnp.int32)


def episodes(environment: Environment, policy: Callable[[Any, jax.Array], jax.Array]) -> tuple[Callable, Callable]:
    """Build `evaluate` and `predict` of a learner: one whole episode an example.

    Args:
      environment: to play in.
      policy: `(params, observation) -> action`.

    Returns:
      (evaluate, predict). The number of an episode is `batch["episode"]: [B]`, or `index` where there is none; predict
      gives `{"return": [B], "length": [B]}`, evaluate their means.
    """

    def predict(state: Any, batch: dict) -> dict[str, jax.Array]:
        def one(key):
            return play(
                environment, lambda _, observation: policy(state.params, observation), key, environment.max_steps
            )

        keys = example_keys(state.rng, {"index": batch.get("episode", batch["index"])})
        total, length = jax.vmap(one)(keys)
        return {"return": total, "length": length}

    def evaluate(state: Any, batch: dict) -> Metrics:
        mask = mask_of(batch)
        return {name: Sum.of(values, mask) for name, values in predict(state, batch).items()}

    return evaluate, predict
