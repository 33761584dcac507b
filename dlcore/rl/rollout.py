"""Rollouts of a policy in many environments, and their advantages (shared by on-policy learners).

Advantages by Schulman et al. 2015, arXiv:1506.02438:

    delta_t = r_t + gamma (1 - terminated_t) V(s'_t) - V(s_t)
    A_t     = delta_t + gamma lambda (1 - done_t) A_{t+1}

s'_t is the state that the action led to, so that an episode cut off by time still counts the value of its last state.
With lambda = 1 the sum of A and V is the n-step return.
"""

import functools
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

from dlcore.learner import Learner, Metrics, Range, Sum, example_keys
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype
from dlcore.rl.environments import AGENT_BATCHED, AgentState, Environment, env_step, episodes, params_of, start
from dlcore.rl.normalization import NORMALIZER_BATCHED, Normalizer

__all__ = [
    "BATCHED",
    "GAE",
    "Normalization",
    "OnPolicyState",
    "Rollout",
    "collect",
    "generalized_advantages",
    "init_runner_state",
    "most_probable_action",
    "on_policy_learner",
    "step_keys",
]

BATCHED = (*AGENT_BATCHED, *NORMALIZER_BATCHED)
"""`Learner.batched` of an `OnPolicyState`."""


class GAE(NamedTuple):
    """Generalized advantage estimation.

    Args:
      gamma: discount a step.
      gae_lambda: lambda of the advantages; 1 sums all rewards of the rollout.
    """

    gamma: Annotated[float, Range(0, 1)] = 0.99
    gae_lambda: Annotated[float, Range(0, 1)] = 0.95


class Normalization(NamedTuple):
    """Which inputs of an agent are normalized by running moments.

    Args:
      normalize_observation: subtract the mean and divide by the deviation of all observations so far.
      normalize_reward: divide rewards by the deviation of the discounted return so far.
    """

    normalize_observation: bool = False
    normalize_reward: bool = False


@struct.dataclass
class OnPolicyState(AgentState):
    """State of an on-policy agent.

    Args:
      normalizer: normalizer of observations and rewards.
    """

    normalizer: Normalizer


class Rollout(NamedTuple):
    """Steps of N instances of an environment.

    Args:
      observation: [T, N, ...], before the action.
      action: [T, N] int, or [T, N, A].
      log_prob: [T, N], of the action under the policy that took it.
      value: [T, N], V(s).
      reward: [T, N], as it is learned from.
      terminated: [T, N] bool.
      done: [T, N] bool, terminated or truncated.
      next_value: [T, N], V(s').
    """

    observation: jax.Array
    action: jax.Array
    log_prob: jax.Array
    value: jax.Array
    reward: jax.Array
    terminated: jax.Array
    done: jax.Array
    next_value: jax.Array

    def advantages(self, gae: GAE) -> jax.Array:
        """Estimate the advantages A_t (GAE).

        Args:
          gae: gamma and lambda.

        Returns:
          [T, N].
        """
        return generalized_advantages(self.reward, self.value, self.next_value, self.terminated, self.done, *gae)


def init_runner_state(
    environment: Environment,
    init: Callable[[jax.Array, jax.Array], Any],
    optimizer: optax.GradientTransformation,
    rng: jax.Array,
    batch: dict,
    normalization: Normalization,
) -> OnPolicyState:
    """Reset the instances and initialize the model.

    Args:
      environment: environment to act in.
      init: (key, observations [N, ...]) -> parameters.
      optimizer: optimizer of the parameters.
      rng: root key.
      batch: `{"index": [N]}`, one entry per instance.
      normalization: which inputs are normalized.

    Returns:
      The state at step 0.
    """
    agent = start(environment, init, optimizer, rng, batch)
    normalizer = Normalizer.start(agent.observation, *normalization)
    return OnPolicyState(**vars(agent), normalizer=normalizer)


def most_probable_action(
    apply: Callable[[Any, jax.Array], tuple[Any, jax.Array]], state: OnPolicyState, observation: jax.Array
) -> jax.Array:
    """Choose the most probable action.

    Args:
      apply: (params, observations [B, ...]) -> (distribution, values [B]).
      state: state of the agent.
      observation: [...] of one instance, as the environment gives it.

    Returns:
      [] int, or [A].
    """
    policy, _ = apply(state.params, state.normalizer.normalize_obs(observation)[None])
    return policy.mode()[0]


def on_policy_learner(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    environment: Environment,
    normalization: Normalization,
    update: Callable[[OnPolicyState, dict], tuple[OnPolicyState, Metrics]],
) -> Learner:
    """Build the learner of an actor-critic around the update of its technique.

    Args:
      model: `__call__(observations [B, ...]) -> (distribution over actions, values [B])`.
      optimizer: any optax transformation.
      environment: environment to act in.
      normalization: which inputs are normalized.
      update: (state, `{"index": [N]}`, one entry per instance) -> (state after the step, metrics).

    Returns:
      The learner. evaluate and predict play one episode per example, with the most probable action.
    """

    def init(rng: jax.Array, batch: dict) -> OnPolicyState:
        return init_runner_state(environment, params_of(model), optimizer, rng, batch, normalization)

    def apply(params: Any, observation: jax.Array) -> Any:
        return model.apply({"params": params}, observation)

    evaluate, predict = episodes(environment, functools.partial(most_probable_action, apply))
    return Learner(init, update, evaluate, predict, batched=BATCHED)


def step_keys(rng: jax.Array, batch: dict, num_steps: int) -> jax.Array:
    """Derive the keys of a rollout: one to choose an action by and one to move by, for each step of each instance.

    Args:
      rng: root key of the rollout.
      batch: `{"index": [N]}`.
      num_steps: T.

    Returns:
      [T, N, 2] keys.
    """
    check_shapes(num_steps=(num_steps, "int >= 1"))
    keys = example_keys(rng, batch)
    return jax.vmap(lambda t: jax.vmap(lambda k: jax.random.split(jax.random.fold_in(k, t)))(keys))(
        jnp.arange(num_steps)
    )


StateT = TypeVar("StateT", bound=OnPolicyState)


def collect(
    apply: Callable[[Any, jax.Array], tuple[Any, jax.Array]],
    environment: Environment,
    state: StateT,
    rng: jax.Array,
    batch: dict,
    num_steps: int,
    gamma: float | jax.Array,
) -> tuple[StateT, Rollout, Sum]:
    """Collect a rollout, with the value estimate of each observation.

    The scan over time runs the policy alone; all values are computed after it, at once.

    Args:
      apply: (params, observations [B, ...]) -> (distribution, values [B]).
      environment: environment of the instances.
      state: state of the agent.
      rng: root key of this rollout.
      batch: `{"index": [N]}`.
      num_steps: T.
      gamma: discount a step, of the running return that rewards are normalized by.

    Returns:
      (state after T steps, Rollout, sum and number of the returns of episodes that ended).
    """
    check_shapes(num_steps=(num_steps, "int >= 1"), gamma=(gamma, "0 to 1"))

    def step(state: OnPolicyState, key: jax.Array):
        # Sample an action of the policy on normalized observations.
        observation = state.normalizer.normalize_obs(state.observation)
        policy, _ = apply(state.params, observation)
        action = jax.vmap(lambda policy, k: policy.sample(k))(policy, key[:, 0])
        # Step all environments; those that end are reset.
        after, out, finished = env_step(environment, state, key[:, 1], action)
        done = out.terminated | out.truncated
        # Update the running moments before rewards are normalized.
        normalizer = after.normalizer.update(out.observation, out.reward, done, gamma)
        reward = normalizer.normalize_reward(out.reward)
        final = state.normalizer.normalize_obs(out.final_observation)
        data = (observation, action, policy.log_prob(action), reward, out.terminated, done, final)
        return after.replace(normalizer=normalizer), (data, finished)

    state, (data, finished) = jax.lax.scan(step, state, step_keys(rng, batch, num_steps))
    observation, action, log_prob, reward, terminated, done, final = data

    # Values of all steps in one forward pass after the scan.
    def values(x: jax.Array) -> jax.Array:
        return apply(state.params, x.reshape(-1, *x.shape[2:]))[1].reshape(x.shape[:2])

    rollout = Rollout(observation, action, log_prob, values(observation), reward, terminated, done, values(final))
    return state, rollout, finished.collapse()


def generalized_advantages(
    reward: jax.Array,
    value: jax.Array,
    next_value: jax.Array,
    terminated: jax.Array,
    done: jax.Array,
    gamma: float | jax.Array,
    gae_lambda: float | jax.Array,
) -> jax.Array:
    """Estimate the advantages A_t of a rollout (GAE).

    Args:
      reward: [T, ...].
      value: [T, ...], V(s_t).
      next_value: [T, ...], V(s'_t).
      terminated: [T, ...] bool, after which nothing has value.
      done: [T, ...] bool, terminated or truncated.
      gamma: discount a step.
      gae_lambda: share of the next step's advantage; 0 gives delta_t.

    Returns:
      [T, ...].
    """
    check_shapes(
        reward=(reward, "... T"),
        value=(value, "... T"),
        next_value=(next_value, "... T"),
        terminated=(terminated, "... T"),
        done=(done, "... T"),
        gamma=(gamma, "0 to 1"),
        gae_lambda=(gae_lambda, "0 to 1"),
    )
    if not len(reward):
        raise ValueError(f"reward.shape={reward.shape}: no steps; allowed: at least one")
    reward, value, next_value = map(to_acc_dtype, (reward, value, next_value))
    # TD error; a terminal state has no value.
    delta = reward + gamma * jnp.where(terminated, 0.0, next_value) - value  # [T, ...]

    def backward(following, now):
        delta, done = now
        advantage = delta + gamma * gae_lambda * jnp.where(done, 0.0, following)
        return advantage, advantage

    return jax.lax.scan(backward, jnp.zeros(delta.shape[1:], delta.dtype), (delta, done), reverse=True)[1]
