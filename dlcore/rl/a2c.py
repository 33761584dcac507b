"""Advantage actor-critic: one gradient step on each short rollout.

Mnih et al. 2016, "Asynchronous methods for deep reinforcement learning", arXiv:1602.01783.

    L = -log pi(a_t | s_t) A_t + c_v (V(s_t) - R_t)^2 / 2 - c_e H,     R_t = A_t + V(s_t)

With lambda = 1 the return R_t is the sum of the rewards to the end of the rollout and the value of what follows it. The
instances step together, which replaces the asynchronous workers of the paper.
"""

from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.learner import Learner, Metrics, Range, Sum, check_arguments
from dlcore.optim import optimizer_step
from dlcore.rl.environments import Environment, check_environment
from dlcore.rl.rollout import GAE, Normalization, OnPolicyState, Rollout, collect, on_policy_learner

__all__ = ["learner"]


def _objective(
    apply: Callable, params: Any, data: Rollout, advantage: jax.Array, vf_coef: float, ent_coef: float
) -> tuple[jax.Array, Metrics]:
    """L of a rollout [T, N]."""
    policy, value = apply(params, data.observation.reshape(-1, *data.observation.shape[2:]))
    action, advantage, old_value = (x.reshape(-1, *x.shape[2:]) for x in (data.action, advantage, data.value))
    score = -policy.log_prob(action) * advantage  # [T * N]
    # The return is advantage + old value.
    error, entropy = 0.5 * jnp.square(value - (advantage + old_value)), policy.entropy()  # [T * N], [T * N]
    total = score + vf_coef * error - ent_coef * entropy
    return total.mean(), {"policy_loss": Sum.of(score), "value_loss": Sum.of(error), "entropy": Sum.of(entropy)}


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    environment: Environment,
    num_steps: Annotated[int, Range(1)] = 5,
    num_rollouts: Annotated[int, Range(1)] = 20,
    gae: GAE = GAE(gae_lambda=1.0),
    vf_coef: Annotated[float, Range(0)] = 0.5,
    ent_coef: Annotated[float, Range(0)] = 0.0,
    normalization: Normalization = Normalization(),
) -> Learner:
    """Learn a policy; the batch is `{"index": [N]}`, one entry per environment instance.

    Args:
      model: `__call__(observations [B, ...]) -> (distribution over actions, values [B])`.
      optimizer: any optax transformation.
      environment: see `dlcore.rl.environments`.
      num_steps: length of a rollout, followed by one gradient step.
      num_rollouts: rollouts in one update.
      gae: estimation of the advantages.
      vf_coef: weight of the value loss.
      ent_coef: weight of the entropy bonus.
      normalization: which inputs are normalized.

    Returns:
      The learner. evaluate and predict play one episode per example, with the most probable action.
    """
    check_environment(environment, gae.gamma)

    def apply(params, observation) -> Any:
        return model.apply({"params": params}, observation)

    def loss(params, data, advantage):
        return _objective(apply, params, data, advantage, vf_coef, ent_coef)

    def update(state: OnPolicyState, batch: dict) -> tuple[OnPolicyState, Metrics]:
        root = jax.random.fold_in(state.rng, state.step)

        def step(state, t):
            # Collect a rollout of [T, N] transitions.
            key = jax.random.fold_in(root, t)
            state, data, finished = collect(apply, environment, state, key, batch, num_steps, gae.gamma)
            # GAE; with lambda = 1 the n-step return minus the value. [T, N]
            advantage = data.advantages(gae)
            # One gradient step on the whole rollout.
            gradients, metrics = jax.grad(loss, has_aux=True)(state.params, data, advantage)
            params, opt_state = optimizer_step(optimizer, gradients, state.opt_state, state.params)
            return state.replace(params=params, opt_state=opt_state), {**metrics, "return": finished}

        state, metrics = jax.lax.scan(step, state, jnp.arange(num_rollouts))
        return state.replace(step=state.step + 1), {name: metric.collapse() for name, metric in metrics.items()}

    return on_policy_learner(model, optimizer, environment, normalization, update)
