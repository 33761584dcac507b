"""Shared steps of off-policy learners: act, store, sample a minibatch, update.

A technique gives two functions: how it acts, and how it learns from a minibatch. One update of `fit` is a scan of
`num_steps` steps of all instances, each followed by `gradient_steps` gradient steps, once the buffer has begun to fill.
With N instances the gradient steps an environment step are gradient_steps / N.
"""

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from dlcore.learner import Metrics, Range, example_keys
from dlcore.ops.checks import check_shapes
from dlcore.ops.replica import replica_key
from dlcore.rl.environments import AGENT_BATCHED, AgentState, Environment, env_step
from dlcore.rl.replay import Replay, Transition

__all__ = [
    "BATCHED",
    "OffPolicy",
    "OffPolicyState",
    "average_targets",
    "empty_replay",
    "off_policy_update",
    "start_off_policy",
    "td_target",
]

BATCHED = (*AGENT_BATCHED, "replay/data/*")
"""`Learner.batched` of an `OffPolicyState`."""


class OffPolicy(NamedTuple):
    """Replay, gradient steps and targets of an actor-critic for continuous actions.

    Args:
      num_steps: steps of each instance in one update.
      gradient_steps: after each step of the N instances; there are gradient_steps / N of them an environment step.
      buffer_size: steps of each instance that the replay buffer holds.
      minibatch_size: steps of a gradient step.
      learning_starts: steps of each instance, of random actions, before the first gradient step.
      tau: share of the way that target networks go to the networks when they move.
      gamma: discount a step.
      reward_scale: factor of the rewards in training; reported returns are not scaled.
    """

    num_steps: Annotated[int, Range(1)] = 32
    gradient_steps: Annotated[int, Range(1)] = 1
    buffer_size: Annotated[int, Range(1)] = 4096
    minibatch_size: Annotated[int, Range(1)] = 128
    learning_starts: Annotated[int, Range(0)] = 100
    tau: Annotated[float, Range(0, 1)] = 0.005
    gamma: Annotated[float, Range(0, 1)] = 0.99
    reward_scale: Annotated[float, Range(0)] = 1.0


@struct.dataclass
class OffPolicyState(AgentState):
    """State of an agent with a replay buffer.

    Args:
      target_params: parameters of the target networks.
      replay: the last steps of each instance.
    """

    target_params: Any
    replay: Replay


def empty_replay(agent: AgentState, environment: Environment, buffer_size: int, minibatch_size: int) -> Replay:
    """Make an empty replay buffer for an agent's transitions.

    Args:
      agent: agent at step 0.
      environment: environment that it acts in.
      buffer_size: steps of each instance that the buffer holds.
      minibatch_size: steps that are drawn at once.

    Returns:
      The buffer.

    Raises:
      ValueError: it holds fewer steps than are drawn at once.
    """
    x, scalar = agent.observation, agent.episode_return
    size = environment.action_size
    action = jnp.zeros((len(x), size), jnp.float32) if size else jnp.zeros(len(x), jnp.int32)
    return Replay.empty(Transition(x, action, scalar, scalar.astype(bool), x), buffer_size, minibatch_size)


def start_off_policy(
    agent: AgentState, environment: Environment, target_params: Any, off_policy: OffPolicy
) -> OffPolicyState:
    """Add a replay buffer and target networks to an agent.

    Args:
      agent: agent at step 0.
      environment: environment that it acts in.
      target_params: parameters of the target networks.
      off_policy: size of the buffer and of a minibatch.

    Returns:
      The state.

    Raises:
      ValueError: the buffer holds fewer steps than are drawn at once.
    """
    replay = empty_replay(agent, environment, off_policy.buffer_size, off_policy.minibatch_size)
    return OffPolicyState(**vars(agent), target_params=target_params, replay=replay)


def td_target(data: Transition, next_value: jax.Array, off_policy: OffPolicy) -> jax.Array:
    """Compute y of a minibatch; a terminal state has no value, and no gradient passes.

    Args:
      data: transitions of [B, ...].
      next_value: [B], of the next states.
      off_policy: discount and scale of the rewards.

    Returns:
      [B].
    """
    check_shapes(reward=(data.reward, "B"), terminated=(data.terminated, "mask B"), next_value=(next_value, "B"))
    following = off_policy.gamma * jnp.where(data.terminated, 0.0, next_value)
    return jax.lax.stop_gradient(off_policy.reward_scale * data.reward + following)


def average_targets(targets: Any, params: Any, tau: float | jax.Array) -> Any:
    """Move the target networks a little towards the networks (Lillicrap et al. 2016, arXiv:1509.02971).

    Args:
      targets: parameters of the target networks.
      params: parameters of the networks.
      tau: share of the way.

    Returns:
      (1 - tau) targets + tau params.
    """
    check_shapes(tau=(tau, "0 to 1"))
    return jax.tree.map(lambda target, new: target + tau * (new - target), targets, params)


def off_policy_update(
    environment: Environment,
    act: Callable[[OffPolicyState, jax.Array], jax.Array],
    learn: Callable[[OffPolicyState, Transition, jax.Array], tuple[OffPolicyState, Metrics]],
    off_policy: OffPolicy,
) -> Callable[[OffPolicyState, dict], tuple[OffPolicyState, Metrics]]:
    """Build `Learner.update`.

    Args:
      environment: environment of the instances.
      act: (state, keys [N]) -> actions of the instances.
      learn: (state, minibatch, key) -> (state, metrics): one gradient step, and what follows it.
      off_policy: numbers of steps, of gradient steps and of steps of a minibatch, and when learning starts.

    Returns:
      (state, batch) -> (state, metrics).
    """

    def update(state: OffPolicyState, batch: dict) -> tuple[OffPolicyState, Metrics]:
        root = jax.random.fold_in(state.rng, state.step)
        # Every replica samples from its own replay buffer.
        keys, replay_key = example_keys(jax.random.fold_in(root, 0), batch), jax.random.fold_in(root, 1)
        replay_key = replica_key(replay_key)

        def gradient_step(state, key):
            minibatch_key, noise_key = jax.random.split(key)
            # One gradient step on a minibatch from the replay buffer; discarded before `learning_starts`.
            trained, metrics = learn(state, state.replay.sample(minibatch_key, off_policy.minibatch_size), noise_key)
            has_started = state.replay.written > off_policy.learning_starts
            state = state.replace(
                **{
                    name: jax.tree.map(
                        lambda new, old: jnp.where(has_started, new, old), getattr(trained, name), getattr(state, name)
                    )
                    for name in ("params", "opt_state", "target_params")
                }
            )
            return state, metrics

        def step(state, t):
            key = jax.vmap(lambda k: jax.random.split(jax.random.fold_in(k, t)))(keys)
            # Act, step all environments, and store the transitions.
            action = environment.clip_action(act(state, key[:, 0]))
            after, out, finished = env_step(environment, state, key[:, 1], action)
            transition = Transition(state.observation, action, out.reward, out.terminated, out.final_observation)
            after = after.replace(replay=state.replay.add(transition))
            # Gradient steps after each environment step.
            minibatch_keys = jax.random.split(jax.random.fold_in(replay_key, t), off_policy.gradient_steps)
            after, metrics = jax.lax.scan(gradient_step, after, minibatch_keys)
            return after, {"return": finished, **{name: metric.collapse() for name, metric in metrics.items()}}

        state, metrics = jax.lax.scan(step, state, jnp.arange(off_policy.num_steps))
        return state.replace(step=state.step + 1), {name: metric.collapse() for name, metric in metrics.items()}

    return update
