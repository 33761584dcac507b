"""Proximal policy optimization of a policy with a memory, for partially observable environments.

The objective is that of `dlcore.rl.ppo`; the policy is an LSTM (as in sb3-contrib's RecurrentPPO; for partial
observations Hausknecht & Stone 2015, arXiv:1507.06527).

    h_t, pi_t, V_t = f(h_{t-1} (1 - done_{t-1}), s_t)          the memory is reset at the start of an episode
    V(s'_t) = f(h_t, s'_t)                                     its value needs h_t before the reset

A minibatch is whole sequences of some instances: time is not cut. A rollout begins with the final memory of
the last one; later epochs over it begin with the same memory, computed by older parameters.
"""

from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

from dlcore.learner import Learner, Metrics, Range, Sum, check_arguments
from dlcore.rl.environments import Environment, check_environment, env_step, episodes
from dlcore.rl.ppo import PPO, objective, update_epochs
from dlcore.rl.rollout import BATCHED, GAE, Normalization, OnPolicyState, Rollout, init_runner_state, step_keys

__all__ = ["RecurrentState", "learner"]


@struct.dataclass
class RecurrentState(OnPolicyState):
    """State of an agent with a memory.

    Args:
      memory: a pytree of [N, ...], after the last observation.
      fresh: [N] bool, whether an episode begins with the next observation.
    """

    memory: Any
    fresh: jax.Array


def _reset_memory(memory: Any, is_initial: jax.Array) -> Any:
    return jax.tree.map(lambda h: jnp.where(is_initial.reshape(-1, *[1] * (h.ndim - 1)), 0, h), memory)


def _collect(
    apply: Callable,
    environment: Environment,
    state: RecurrentState,
    rng: jax.Array,
    batch: dict,
    num_steps: int,
    gamma: float | jax.Array,
) -> tuple[RecurrentState, Rollout, jax.Array, Sum]:
    """Act by the policy: (state, rollout, [T, N] whether an episode began, returns of episodes that ended)."""

    def step(state: RecurrentState, key: jax.Array):
        observation, is_initial = state.normalizer.normalize_obs(state.observation), state.fresh
        # Reset the memory at the start of an episode.
        memory, (policy, value) = apply(state.params, _reset_memory(state.memory, is_initial), observation)
        action = jax.vmap(lambda policy, k: policy.sample(k))(policy, key[:, 0])
        # Step all environments; those that end are reset.
        after, out, finished = env_step(environment, state, key[:, 1], action)
        done = out.terminated | out.truncated
        normalizer = after.normalizer.update(out.observation, out.reward, done, gamma)
        final = state.normalizer.normalize_obs(out.final_observation)
        log_prob, reward = policy.log_prob(action), normalizer.normalize_reward(out.reward)
        data = Rollout(observation, action, log_prob, value, reward, out.terminated, done, value)
        after = after.replace(normalizer=normalizer, memory=memory, fresh=done)
        return after, (data, is_initial, memory, final, finished)

    state, (data, is_initial, memories, final, finished) = jax.lax.scan(step, state, step_keys(rng, batch, num_steps))
    # Values of the final observations, by the memory after each step.
    _, (_, next_value) = apply(state.params, *jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), (memories, final)))
    return state, data._replace(next_value=next_value.reshape(data.value.shape)), is_initial, finished.collapse()


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    environment: Environment,
    num_steps: Annotated[int, Range(1)] = 128,
    gae: GAE = GAE(),
    ppo: PPO = PPO(),
    normalization: Normalization = Normalization(),
) -> Learner:
    """Learn a policy; the batch is `{"index": [N]}`, one entry per environment instance.

    Args:
      model: `__call__(memory, observations [B, ...]) -> (memory, (distribution over actions, values [B]))`; `sequence`,
        the same over [T, B, ...] with `fresh: [T, B]` that clears the memory; and `memory(B)`, zeros, the memory at the
        start of an episode.
      optimizer: any optax transformation.
      environment: see `dlcore.rl.environments`.
      num_steps: length of a rollout, through which gradients pass.
      gae: estimation of the advantages.
      ppo: weights of the loss, and passes over a rollout; minibatches are of instances.
      normalization: which inputs are normalized.

    Returns:
      The learner. evaluate and predict play one episode per example, with the most probable action.
    """
    check_environment(environment, gae.gamma)

    def apply(params, memory, observation) -> Any:
        return model.apply({"params": params}, memory, observation)

    def apply_sequence(params, memory, observation, is_initial) -> Any:
        return model.apply({"params": params}, memory, observation, is_initial, method="sequence")

    def init(rng: jax.Array, batch: dict) -> RecurrentState:
        memory = model.memory(len(batch["index"]))

        def params(key, observation):
            return model.init(key, memory, observation)["params"]

        agent = init_runner_state(environment, params, optimizer, rng, batch, normalization)
        return RecurrentState(**vars(agent), memory=memory, fresh=jnp.ones(batch["index"].shape, bool))

    def minibatch_loss(params, minibatch):
        memory, is_initial, data, advantage, target = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), minibatch)
        memory = jax.tree.map(lambda h: h[0], memory)
        _, (policy, value) = apply_sequence(params, memory, data.observation, is_initial)
        return objective(policy, value, data, advantage, target, ppo)

    def update(state: RecurrentState, batch: dict) -> tuple[RecurrentState, Metrics]:
        root = jax.random.fold_in(state.rng, state.step)
        # The memory at the start of each sequence.
        memory = jax.tree.map(lambda h: h[:, None], state.memory)
        # Collect a rollout of [T, N] transitions.
        key = jax.random.fold_in(root, 0)
        state, data, is_initial, finished = _collect(apply, environment, state, key, batch, num_steps, gae.gamma)
        # GAE; bootstraps at time-limit truncation, not at termination. [T, N]
        advantage = data.advantages(gae)
        # Minibatches are whole sequences, [N, T]: gradients pass through time.
        sequences = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), (is_initial, data, advantage, advantage + data.value))
        # PPO epochs over shuffled minibatches of N / num_minibatches sequences.
        key = jax.random.fold_in(root, 1)
        state, metrics = update_epochs(minibatch_loss, optimizer, state, (memory, *sequences), key, ppo)
        return state, {**metrics, "return": finished}

    def act(state: RecurrentState, memory: Any, observation: jax.Array):
        normalized_obs = state.normalizer.normalize_obs(observation)[None]
        memory, (policy, _) = apply(state.params, memory, normalized_obs)
        return memory, policy.mode()[0]

    evaluate, predict = episodes(environment, act, memory=lambda state: model.memory(1))
    return Learner(init, update, evaluate, predict, batched=(*BATCHED, "memory/*", "fresh"))
