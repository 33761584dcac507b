"""Proximal policy optimization.

Schulman, Wolski, Dhariwal, Radford & Klimov 2017, arXiv:1707.06347, equation 7.

    L = -min(rho A, clip(rho, 1 - eps, 1 + eps) A) + c_v (V - R)^2 / 2 - c_e H,     rho = pi / pi_old,  R = A + V

A are generalized advantages (`dlcore.rl.rollout`); an episode cut off by time counts the value of its last state. The
value loss is not clipped, and advantages are normalized in each minibatch, as most implementations do. Actions may be
discrete or continuous: the model gives their distribution.
"""

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.learner import Learner, Metrics, Range, Sum, check_arguments
from dlcore.ops.checks import check_shapes
from dlcore.ops.moments import population_moments
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.replica import replica_count
from dlcore.optim import optimizer_step
from dlcore.rl.environments import Environment, check_environment
from dlcore.rl.rollout import GAE, Normalization, OnPolicyState, Rollout, collect, on_policy_learner

__all__ = ["PPO", "clipped_surrogate_loss", "learner", "objective", "update_epochs"]


class PPO(NamedTuple):
    """What is done with a rollout.

    Args:
      num_epochs: passes over each rollout.
      num_minibatches: gradient steps in a pass; divides N x num_steps, or N where a policy has a memory. A minibatch
        holds at least 2 steps, since advantages are normalized in it.
      clip_eps: how far the probability ratio may leave 1 before its gradient is cut.
      vf_coef: weight of the value loss.
      ent_coef: weight of the entropy bonus.
    """

    num_epochs: Annotated[int, Range(1)] = 4
    num_minibatches: Annotated[int, Range(1)] = 4
    clip_eps: Annotated[float, Range(0)] = 0.2
    vf_coef: Annotated[float, Range(0)] = 0.5
    ent_coef: Annotated[float, Range(0)] = 0.0


def clipped_surrogate_loss(
    log_prob: jax.Array, old_log_prob: jax.Array, advantage: jax.Array, clip_eps: float | jax.Array = 0.2
) -> jax.Array:
    """-min(rho A, clip(rho, 1 - eps, 1 + eps) A).

    Args:
      log_prob: [...], of the actions under the policy.
      old_log_prob: [...], under the policy that took them.
      advantage: [...].
      clip_eps: eps.

    Returns:
      [...].
    """
    check_shapes(
        log_prob=(log_prob, "..."),
        old_log_prob=(old_log_prob, "..."),
        advantage=(advantage, "..."),
        clip_eps=(clip_eps, ">= 0"),
    )
    ratio = jnp.exp(to_acc_dtype(log_prob) - to_acc_dtype(old_log_prob))
    return -jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - clip_eps, 1 + clip_eps) * advantage)


def objective(
    policy: Any, value: jax.Array, data: Rollout, advantage: jax.Array, target: jax.Array, ppo: PPO
) -> tuple[jax.Array, Metrics]:
    """Compute L of a minibatch, with advantages normalized in it.

    Args:
      policy: distributions over the actions [...], by the parameters that learn.
      value: [...], by the same.
      data: what was done, [...].
      advantage: [...], A.
      target: [...], R.
      ppo: eps, c_v and c_e.

    Returns:
      (mean loss, metrics).
    """
    check_shapes(value=(value, "..."), advantage=(advantage, "..."), target=(target, "..."))
    if advantage.size * replica_count() < 2:
        problem = "a minibatch of one step, whose normalized advantage is 0"
        raise ValueError(f"num_minibatches={ppo.num_minibatches}: {problem}; allowed: minibatches of at least 2 steps")
    # Advantages are normalized in each minibatch.
    mean, variance = population_moments(advantage)
    normalized = (advantage - mean) / jnp.sqrt(variance + 1e-8)  # [...]
    # Clipped surrogate objective, value loss and entropy bonus.
    surrogate = clipped_surrogate_loss(policy.log_prob(data.action), data.log_prob, normalized, ppo.clip_eps)  # [...]
    error, entropy = 0.5 * jnp.square(value - target), policy.entropy()  # [...], [...]
    total = surrogate + ppo.vf_coef * error - ppo.ent_coef * entropy
    return total.mean(), {"policy_loss": Sum.of(surrogate), "value_loss": Sum.of(error), "entropy": Sum.of(entropy)}


StateT = TypeVar("StateT", bound=OnPolicyState)


def update_epochs(
    loss: Callable[[Any, Any], tuple[jax.Array, Metrics]],
    optimizer: optax.GradientTransformation,
    state: StateT,
    data: Any,
    rng: jax.Array,
    ppo: PPO,
) -> tuple[StateT, Metrics]:
    """Run epochs of minibatch updates on one rollout.

    Args:
      loss: (params, minibatch) -> (scalar, metrics).
      optimizer: optax transformation for params.
      state: before the first minibatch.
      data: pytree of [M, ...].
      rng: PRNG key of the shuffles.
      ppo: number of epochs, and of minibatches, which divides M.

    Returns:
      (state after the last epoch, one step on; metrics).
    """
    check_shapes(num_epochs=(ppo.num_epochs, "int >= 1"), num_minibatches=(ppo.num_minibatches, "int >= 1"))
    size = len(jax.tree.leaves(data)[0])
    if sizes := sorted({len(leaf) for leaf in jax.tree.leaves(data)} - {size}):
        raise ValueError(f"data: arrays of {size} and of {sizes[0]} rows; allowed: of as many all")
    if size % ppo.num_minibatches:
        raise ValueError(f"num_minibatches={ppo.num_minibatches}: not a divisor; allowed: divisors of {size}")

    def step(carry, rows):
        params, opt_state = carry
        # Gradient of one minibatch, then the optimizer step.
        gradients, metrics = jax.grad(loss, has_aux=True)(params, jax.tree.map(lambda x: x[rows], data))
        return optimizer_step(optimizer, gradients, opt_state, params), metrics

    # Shuffle the M steps anew in each epoch; one gradient step a minibatch.
    keys = jax.vmap(jax.random.fold_in, (None, 0))(rng, jnp.arange(ppo.num_epochs))
    rows = jax.vmap(lambda key: jax.random.permutation(key, size))(keys)
    rows = rows.reshape(ppo.num_epochs * ppo.num_minibatches, -1)
    # Scan over the minibatches of all epochs.
    (params, opt_state), metrics = jax.lax.scan(step, (state.params, state.opt_state), rows)
    state = state.replace(step=state.step + 1, params=params, opt_state=opt_state)
    return state, {name: metric.collapse() for name, metric in metrics.items()}


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
      model: `__call__(observations [B, ...]) -> (distribution over actions, values [B])`.
      optimizer: any optax transformation.
      environment: see `dlcore.rl.environments`.
      num_steps: length of a rollout: steps of each instance in one update.
      gae: estimation of the advantages.
      ppo: weights of the loss, and passes over a rollout.
      normalization: which inputs are normalized.

    Returns:
      The learner. evaluate and predict play one episode per example, with the most probable action.
    """
    check_environment(environment, gae.gamma)

    def apply(params, observation) -> Any:
        return model.apply({"params": params}, observation)

    def minibatch_loss(params, minibatch):
        policy, value = apply(params, minibatch[0].observation)
        data, advantage, target = minibatch
        return objective(policy, value, data, advantage, target, ppo)

    def update(state: OnPolicyState, batch: dict) -> tuple[OnPolicyState, Metrics]:
        root = jax.random.fold_in(state.rng, state.step)
        # Collect a rollout of [T, N] transitions.
        key = jax.random.fold_in(root, 0)
        state, data, finished = collect(apply, environment, state, key, batch, num_steps, gae.gamma)
        # GAE; bootstraps at time-limit truncation, not at termination. [T, N]
        advantage = data.advantages(gae)
        # Returns are advantage + value; flatten [T, N] to [T * N].
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), (data, advantage, advantage + data.value))
        # PPO epochs over shuffled minibatches of T * N / num_minibatches.
        state, metrics = update_epochs(minibatch_loss, optimizer, state, flat, jax.random.fold_in(root, 1), ppo)
        return state, {**metrics, "return": finished}

    return on_policy_learner(model, optimizer, environment, normalization, update)
