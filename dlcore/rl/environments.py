"""Environments as pure functions of one instance, from gymnax (Lange 2022), and the steps of an agent in many of them.

Discrete actions are numbers from 0; continuous actions are vectors in [-1, 1], whatever the bounds of the environment:
`step` clips them and scales them to its units.

An episode ends by `terminated` (the task is over: no reward follows) or `truncated` (time is up: the value of the last
observation still counts). `step` then starts the next episode; `final_observation` is the last of the old one.
"""

import difflib
import math
from collections.abc import Callable
from numbers import Real
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import struct
from jax.extend import core

from dlcore.choices import check_choice
from dlcore.extras import require
from dlcore.learner import Metrics, State, Sum, example_keys, mask_of
from dlcore.ops.checks import check_finite, check_indices, check_shapes

__all__ = [
    "AGENT_BATCHED",
    "AgentState",
    "Environment",
    "Episode",
    "Step",
    "check_environment",
    "env_step",
    "episodes",
    "epsilon_greedy",
    "make",
    "params_of",
    "random_actions",
    "rollout_episode",
    "start",
    "trace",
]

AGENT_BATCHED = ("environment/*", "observation", "episode_return")
"""`Learner.batched` of an `AgentState`."""


class Step(NamedTuple):
    """Result of one environment step.

    Args:
      observation: observation of the next step; a new episode's first where the old one ended.
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
    """Pure functions of one instance of an environment.

    Args:
      name: name of the environment in gymnax, within those of its wrappers.
      reset: key -> (state, observation).
      step: (key, state, action) -> (state, Step); a discrete action is [] int, a continuous one [A] in [-1, 1].
      num_actions: discrete actions are 0 to num_actions - 1; None where actions are continuous.
      observation_shape: shape of one observation.
      max_steps: after which an episode is truncated.
      action_low: [A], what -1 stands for; None where actions are discrete.
      action_high: [A], what 1 stands for.
      endless: no action ends an episode, only time does.
      positions: entries of the observation that are positions and not velocities; None where the name alone says it.
    """

    name: str
    reset: Callable[[jax.Array], tuple[Any, jax.Array]]
    step: Callable[[jax.Array, Any, jax.Array], tuple[Any, Step]]
    num_actions: int | None
    observation_shape: tuple[int, ...]
    max_steps: int
    action_low: np.ndarray | None = None
    action_high: np.ndarray | None = None
    endless: bool = False
    positions: tuple[int, ...] | None = None

    @property
    def action_size(self) -> int:
        """A of a continuous action; 0 where actions are discrete."""
        return 0 if self.action_low is None else len(self.action_low)

    def clip_action(self, action: jax.Array) -> jax.Array:
        """Clip continuous actions to what `step` plays.

        Args:
          action: [...] int, or [..., A].

        Returns:
          The same; vectors in [-1, 1].
        """
        return jnp.clip(action, -1, 1) if self.action_size else action


class Episode(NamedTuple):
    """One episode, padded to T steps.

    Args:
      state: [T, ...], before the action.
      observation: [T, ...], before the action.
      action: [T] int, or [T, A].
      reward: [T], 0 behind the end.
      running: [T] bool, the step is of the episode.
      terminated: [T] bool, the task is over with this step of the episode.
    """

    state: Any
    observation: jax.Array
    action: jax.Array
    reward: jax.Array
    running: jax.Array
    terminated: jax.Array


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
    """Build an environment of gymnax.

    MinAtar's boards, of zeros and ones, are bool, so that a replay of them is small. An observation that is the number
    of a state (FrozenLake) becomes one-hot, [number of states] float32: state 12 is not three times state 4.

    Args:
      name: such as "CartPole-v1", "Pendulum-v1" or "Breakout-MinAtar".

    Returns:
      The environment.

    Raises:
      MissingPackage: gymnax is not installed.
      ValueError: there is no such environment (close names are listed), or its actions are neither numbers nor vectors.
    """
    if not isinstance(name, str):
        raise ValueError(f"environment={name!r}: no name; allowed: names of gymnax such as CartPole-v1")
    require("gymnax", what="an environment")
    import gymnax

    if name not in gymnax.registered_envs:
        near = difflib.get_close_matches(name, gymnax.registered_envs) or sorted(gymnax.registered_envs)
        raise ValueError(f"environment={name!r}: unknown; allowed: names of gymnax such as {', '.join(near)}")
    env, params = gymnax.make(name)
    space = env.action_space(params)
    num_actions, low, high = getattr(space, "n", None), None, None
    if num_actions is None:
        if not hasattr(space, "low") or len(space.shape) > 1:
            raise ValueError(f"environment={name!r}: actions are {space}; allowed: discrete actions, and vectors")
        size = math.prod(space.shape)
        low, high = (np.broadcast_to(np.asarray(x, np.float32), size) for x in (space.low, space.high))

    num_states = getattr(env.observation_space(params), "n", None)

    def observe(observation):
        if num_states is not None:
            return jax.nn.one_hot(observation, num_states)
        return observation.astype(bool) if name.endswith("-MinAtar") else observation

    def reset(key):
        observation, state = env.reset(key, params)
        return _strongly_typed((state, observe(observation)))

    def step(key, state, action):
        if low is not None and high is not None:
            action = low + (jnp.clip(action, -1, 1) + 1) / 2 * (high - low)
        observation, state, reward, terminated, truncated, info = env.step(key, state, action, params)
        reward = jnp.asarray(reward, jnp.float32).reshape(())
        final = observe(info["final_observation"])
        return _strongly_typed((state, Step(observe(observation), reward, terminated, truncated, final)))

    state, first = jax.eval_shape(reset, jax.random.key(0))
    over = jax.make_jaxpr(lambda state: env.is_terminated(state, params))(state).jaxpr.outvars[0]
    return Environment(
        name,
        reset,
        step,
        None if num_actions is None else int(num_actions),
        tuple(first.shape),
        int(params.max_steps_in_episode),
        low,
        high,
        endless=isinstance(over, core.Literal) and not over.val,
    )


def check_environment(
    environment: Environment, gamma: float, actions: Literal["discrete", "continuous", "any"] = "any"
) -> None:
    """Check that a learner supports an environment's observations and actions.

    Args:
      environment: environment to learn in.
      gamma: discount a step.
      actions: actions that the learner can choose.
    """
    check_shapes(gamma=(gamma, "0 to 1"))
    check_choice("actions", actions, ("discrete", "continuous", "any"))
    kind = "continuous" if environment.action_size else "discrete"
    if actions not in ("any", kind):
        raise ValueError(f"environment={environment.name!r}: {kind} actions; allowed: {actions} actions")
    if environment.endless and isinstance(gamma, Real) and gamma >= 1:
        raise ValueError(f"gamma={gamma}: no episode of {environment.name} terminates; allowed: below 1")


def random_actions(environment: Environment, keys: jax.Array) -> jax.Array:
    """Draw actions uniformly.

    Args:
      environment: environment that they are for.
      keys: [N].

    Returns:
      [N] int32, or [N, A] in [-1, 1].
    """
    count, size = environment.num_actions, environment.action_size
    if count is None:
        return jax.vmap(lambda key: jax.random.uniform(key, (size,), minval=-1, maxval=1))(keys)
    return jax.vmap(lambda key: jax.random.randint(key, (), 0, count))(keys)


def epsilon_greedy(
    environment: Environment, keys: jax.Array, values: jax.Array, epsilon: float | jax.Array
) -> jax.Array:
    """Choose the most valued actions, and random ones now and then.

    Args:
      environment: environment with discrete actions.
      keys: [N].
      values: [N, num_actions].
      epsilon: share of random actions.

    Returns:
      [N] int32.
    """
    check_shapes(values=(values, f"N {environment.num_actions}"), keys=(keys, "N"), epsilon=(epsilon, "0 to 1"))
    check_finite("values", values)
    keys = jax.vmap(jax.random.split)(keys)
    explore = jax.vmap(lambda key: jax.random.bernoulli(key, epsilon))(keys[:, 0])  # [N]
    return jnp.where(explore, random_actions(environment, keys[:, 1]), values.argmax(-1)).astype(jnp.int32)


def _strongly_typed(tree: Any) -> Any:
    return jax.tree.map(lambda x: jax.lax.convert_element_type(x, jnp.asarray(x).dtype), tree)


def params_of(model: nn.Module) -> Callable[[jax.Array, jax.Array], Any]:
    """Initialize a model by observations alone.

    Args:
      model: called with observations [N, ...].

    Returns:
      (key, observations) -> parameters.
    """
    return lambda key, observation: model.init(key, observation)["params"]


def start(
    environment: Environment,
    init: Callable[[jax.Array, jax.Array], Any],
    optimizer: optax.GradientTransformation,
    rng: jax.Array,
    batch: dict,
) -> AgentState:
    """Reset the instances and initialize what is learned.

    Args:
      environment: environment to act in.
      init: (key, observations [N, ...]) -> parameters.
      optimizer: optimizer of the parameters.
      rng: root key.
      batch: `{"index": [N]}`, one entry per instance.

    Returns:
      The state at step 0.
    """
    env_state, observation = jax.vmap(environment.reset)(example_keys(jax.random.fold_in(rng, 0), batch))
    params = init(jax.random.fold_in(rng, 1), observation)
    return AgentState(
        step=jnp.zeros((), jnp.int32),
        rng=jax.random.fold_in(rng, 2),
        params=params,
        opt_state=optimizer.init(params),
        environment=env_state,
        observation=observation,
        episode_return=jnp.zeros(batch["index"].shape, jnp.float32),
    )


def env_step(environment: Environment, state: Any, keys: jax.Array, action: jax.Array) -> tuple[Any, Step, Sum]:
    """Take one step in every instance.

    Args:
      environment: environment of the instances.
      state: an `AgentState`.
      keys: [N] random keys.
      action: [N] int, or [N, A].

    Returns:
      (state after the step, Step of [N, ...], sum and number of the returns of episodes that ended).
    """
    if environment.num_actions is not None:
        check_indices("action", action, environment.num_actions, "actions")
    env_state, out = jax.vmap(environment.step)(keys, state.environment, action)
    total, done = state.episode_return + out.reward, out.terminated | out.truncated
    finished = Sum(jnp.where(done, total, 0).sum(), done.sum(dtype=jnp.int32))
    total = jnp.where(done, 0.0, total)
    return state.replace(environment=env_state, observation=out.observation, episode_return=total), out, finished


def trace(
    environment: Environment,
    policy: Callable[[jax.Array, Any, jax.Array], tuple[Any, jax.Array]],
    memory: Any,
    key: jax.Array,
    max_steps: int,
) -> Episode:
    """Roll out one episode by a policy with a memory.

    Args:
      environment: environment to play in.
      policy: `(key, memory, observation) -> (memory, action)`.
      memory: memory at the start of an episode.
      key: random key of the episode.
      max_steps: T, after which to stop.

    Returns:
      The episode.
    """
    check_shapes(max_steps=(max_steps, "int >= 1"))
    state, observation = environment.reset(jax.random.fold_in(key, 0))

    def step(carry, t):
        state, memory, observation, running = carry
        environment_key, policy_key = jax.random.split(jax.random.fold_in(key, t + 1))
        remembered, action = policy(policy_key, memory, observation)
        after, out = environment.step(environment_key, state, action)
        still_running = running & ~(out.terminated | out.truncated)
        # Nothing counts after the end of the episode.
        reward, terminated = jnp.where(running, out.reward, 0.0), running & out.terminated
        transition = Episode(state, observation, action, reward, running, terminated)
        return (after, remembered, out.observation, still_running), transition

    return jax.lax.scan(step, (state, memory, observation, jnp.array(True)), jnp.arange(max_steps))[1]


def rollout_episode(
    environment: Environment, policy: Callable[[jax.Array, jax.Array], jax.Array], key: jax.Array, max_steps: int
) -> tuple[jax.Array, jax.Array]:
    """Roll out one episode.

    Args:
      environment: environment to play in.
      policy: `(key, observation) -> action`.
      key: random key of the episode.
      max_steps: after which to stop.

    Returns:
      (return [] float32, length [] int32).

    Raises:
      ValueError: `max_steps` is no whole number from 1.
    """
    episode = trace(environment, lambda k, memory, x: (memory, policy(k, x)), (), key, max_steps)
    return episode.reward.sum(), episode.running.sum(dtype=jnp.int32)


def episodes(
    environment: Environment, policy: Callable[..., Any], memory: Callable[[Any], Any] | None = None
) -> tuple[Callable, Callable]:
    """Build `evaluate` and `predict` of a learner: one whole episode an example.

    Args:
      environment: environment to play in.
      policy: `(state, observation) -> action`; with `memory`: `(state, memory, observation) -> (memory, action)`.
      memory: state -> what the policy remembers at the start of an episode; None for a policy without memory.

    Returns:
      (evaluate, predict). The number of an episode is `batch["episode"]: [B]`, or `index` where there is none; predict
      gives `{"return": [B], "length": [B]}`, evaluate their means.
    """

    def predict(state: Any, batch: dict) -> dict[str, jax.Array]:
        def choose(key, remembered, observation):
            if memory is None:
                return remembered, policy(state, observation)
            return policy(state, remembered, observation)

        def one(key):
            first = () if memory is None else memory(state)
            episode = trace(environment, choose, first, key, environment.max_steps)
            return episode.reward.sum(), episode.running.sum(dtype=jnp.int32)

        keys = example_keys(state.rng, {"index": batch.get("episode", batch["index"])})
        total, length = jax.vmap(one)(keys)
        return {"return": total, "length": length}

    def evaluate(state: Any, batch: dict) -> Metrics:
        mask = mask_of(batch)
        return {name: Sum.of(values, mask) for name, values in predict(state, batch).items()}

    return evaluate, predict
