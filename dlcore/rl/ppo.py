"""Proximal policy optimization.

Schulman, Wolski, Dhariwal, Radford & Klimov 2017, arXiv:1707.06347, equation 7.

    L = -min(rho A, clip(rho, 1 - eps, 1 + eps) A) + c_v (V - R)^2 / 2 - c_e H,     rho = pi / pi_old,  R = A + V

A are generalized advantages (`dlcore.rl.rollout`); an episode cut off by time counts the value of its last state. The
value loss is not clipped, and advantages are normalized in each minibatch, as most implementations do. Actions may be
discrete or continuous: the model gives their distribution.
"""

from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.learner import Learner, Metrics, Range, Sum, check_arguments
from dlcore.ops.moments import population_moments
from dlcore.rl.environments import Environment, check_environment, episodes, params_of
from dlcore.rl.rollout import BATCHED, OnPolicyState, Rollout, collect, generalized_advantages, init_runner_state

__all__ = ["clipped_surrogate_loss", "learner", "objective", "update_epochs"]


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
    ratio = jnp.exp(log_prob - old_log_prob)
    return -jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - clip_eps, 1 + clip_eps) * advantage)


def objective(
    policy: Any,
    value: jax.Array,
    data: Rollout,
    advantage: jax.Array,
    target: jax.Array,
    *,
    clip_eps: float | jax.Array = 0.2,
    vf_coef: float | jax.Array = 0.5,
    ent_coef: float | jax.Array = 0.0,
) -> tuple[jax.Array, Metrics]:
    """Compute L of a minibatch, with advantages normalized in it.

    Args:
      policy: distributions over the actions [...], by the parameters that learn.
      value: [...], by the same.
      data: what was done, [...].
      advantage: [...], A.
      target: [...], R.
      clip_eps: eps.
      vf_coef: c_v.
      ent_coef: c_e.

    Returns:
      (mean loss, metrics).
    """
    # Advantages are normalized in each minibatch.
    mean, variance = population_moments(advantage)
    normalized = (advantage - mean) / jnp.sqrt(variance + 1e-8)  # [...]
    # Clipped surrogate objective, value loss and entropy bonus.
    surrogate = clipped_surrogate_loss(policy.log_prob(data.action), data.log_prob, normalized, clip_eps)  # [...]
    error, entropy = 0.5 * jnp.square(value - target), policy.entropy()  # [...], [...]
    total = surrogate + vf_coef * error - ent_coef * entropy
    return total.mean(), {"policy_loss": Sum.of(surrogate), "value_loss": Sum.of(error), "entropy": Sum.of(entropy)}


def update_epochs(
    loss: Callable[[Any, Any], tuple[jax.Array, Metrics]],
    optimizer: optax.GradientTransformation,
    params: Any,
    opt_state: Any,
    data: Any,
    rng: jax.Array,
    num_epochs: int,
    num_minibatches: int,
) -> tuple[Any, Any, Metrics]:
    """Run `num_epochs` epochs of minibatch updates on one rollout.

    Args:
      loss: (params, minibatch) -> (scalar, metrics).
      optimizer: optax transformation for params.
      params: parameters before the first minibatch.
      opt_state: state of the optimizer before the first minibatch.
      data: pytree of [M, ...].
      rng: PRNG key of the shuffles.
      num_epochs: passes over the data.
      num_minibatches: gradient steps of an epoch; divides M.

    Returns:
      (params, opt_state, metrics) after the last epoch.

    Raises:
      ValueError: `num_minibatches` does not divide M.
    """
    size = len(jax.tree.leaves(data)[0])
    if size % num_minibatches:
        raise ValueError(f"num_minibatches={num_minibatches}: not a divisor; allowed: divisors of {size}")

    def step(carry, rows):
        params, opt_state = carry
        # Gradient of one minibatch, then the optimizer step.
        gradients, metrics = jax.grad(loss, has_aux=True)(params, jax.tree.map(lambda x: x[rows], data))
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), metrics

    # Shuffle the M steps anew in each epoch; one gradient step a minibatch.
    keys = jax.vmap(jax.random.fold_in, (None, 0))(rng, jnp.arange(num_epochs))
    rows = jax.vmap(lambda key: jax.random.permutation(key, size))(keys).reshape(num_epochs * num_minibatches, -1)
    # Scan over the minibatches of all epochs.
    (params, opt_state), metrics = jax.lax.scan(step, (params, opt_state), rows)
    return params, opt_state, {name: metric.collapse() for name, metric in metrics.items()}


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    environment: Environment,
    num_steps: Annotated[int, Range(1)] = 128,
    num_epochs: Annotated[int, Range(1)] = 4,
    num_minibatches: Annotated[int, Range(1)] = 4,
    gamma: Annotated[float, Range(0, 1)] = 0.99,
    gae_lambda: Annotated[float, Range(0, 1)] = 0.95,
    clip_eps: Annotated[float, Range(0)] = 0.2,
    vf_coef: Annotated[float, Range(0)] = 0.5,
    ent_coef: Annotated[float, Range(0)] = 0.0,
    normalize_observation: bool = False,
    normalize_reward: bool = False,
) -> Learner:
    """Learn a policy; the batch is `{"index": [N]}`, one entry an instance of the environment.

    Args:
      model: `__call__(observations [B, ...]) -> (distribution over actions, values [B])`.
      optimizer: any optax transformation.
      environment: see `dlcore.rl.environments`.
      num_steps: length of a rollout: steps of each instance in one update.
      num_epochs: passes over each rollout.
      num_minibatches: gradient steps in a pass; divides N x num_steps.
      gamma: discount a step.
      gae_lambda: lambda of the advantages.
      clip_eps: how far the probability ratio may leave 1 before its gradient is cut.
      vf_coef: weight of the value loss.
      ent_coef: weight of the entropy bonus.
      normalize_observation: subtract the mean and divide by the deviation of all observations so far.
      normalize_reward: divide rewards by the deviation of the discounted return so far.

    Returns:
      The learner. evaluate and predict play one episode an example, with the most probable action.

    Raises:
      ValueError: values are infinite in this environment, or `num_minibatches` does not divide the steps of a rollout
        (when update is traced).
    """
    check_environment(environment, gamma)

    def apply(params, observation):
        return model.apply({"params": params}, observation)

    weights = {"clip_eps": clip_eps, "vf_coef": vf_coef, "ent_coef": ent_coef}

    def minibatch_loss(params, minibatch):
        return objective(*apply(params, minibatch[0].observation), *minibatch, **weights)

    def update(state: OnPolicyState, batch: dict) -> tuple[OnPolicyState, Metrics]:
        # Collect a rollout of [T, N] transitions.
        root = jax.random.fold_in(state.rng, state.step)
        state, data, finished = collect(apply, environment, state, jax.random.fold_in(root, 0), batch, num_steps, gamma)
        # GAE; bootstraps at time-limit truncation, not at termination. [T, N]
        advantage = generalized_advantages(
            data.reward, data.value, data.next_value, data.terminated, data.done, gamma, gae_lambda
        )
        # Returns are advantage + value; flatten [T, N] to [T * N].
        flat: tuple[Rollout, ...] = jax.tree.map(
            lambda x: x.reshape(-1, *x.shape[2:]), (data, advantage, advantage + data.value)
        )
        # PPO epochs over shuffled minibatches of T * N / num_minibatches.
        params, opt_state, metrics = update_epochs(
            minibatch_loss,
            optimizer,
            state.params,
            state.opt_state,
            flat,
            jax.random.fold_in(root, 1),
            num_epochs,
            num_minibatches,
        )
        state = state.replace(step=state.step + 1, params=params, opt_state=opt_state)
        return state, {**metrics, "return": finished}

    def init(rng: jax.Array, batch: dict) -> OnPolicyState:
        params = params_of(model)
        return init_runner_state(environment, params, optimizer, rng, batch, normalize_observation, normalize_reward)

    def act(state: OnPolicyState, observation: jax.Array) -> jax.Array:
        policy, _ = apply(state.params, state.normalizer.normalize_obs(observation)[None])
        return policy.mode()[0]

    evaluate, predict = episodes(environment, act)
    return Learner(init, update, evaluate, predict, batched=BATCHED)
