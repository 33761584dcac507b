"""Proximal policy optimization.

Schulman, Wolski, Dhariwal, Radford & Klimov 2017, arXiv:1707.06347, equation 7; advantages by Schulman et al. 2015,
arXiv:1506.02438.

    delta_t = r_t + gamma (1 - terminated_t) V(s'_t) - V(s_t)
    A_t     = delta_t + gamma lambda (1 - done_t) A_{t+1}
    L       = -min(rho A, clip(rho, 1 - eps, 1 + eps) A) + c_v (V - R)^2 / 2 - c_e H,     rho = pi / pi_old,  R = A + V

s'_t is the state that the action led to, so that an episode cut off by time still counts the value of its last state.
The value loss is not clipped, and advantages are normalized in each minibatch, as most implementations do.
"""

from typing import Annotated, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.learner import Learner, Metrics, Range, Sum, check_arguments, example_keys
from dlcore.rl.environments import AgentState, Environment, advance, episodes, start

__all__ = ["Rollout", "clipped_surrogate_loss", "generalized_advantages", "learner"]


class Rollout(NamedTuple):
    """Steps of N instances of an environment.

    Args:
      observation: [T, N, ...], before the action.
      action: [T, N] int.
      log_prob: [T, N], of the action under the policy that took it.
      value: [T, N], V(s).
      reward: [T, N].
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
    chex.assert_equal_shape((reward, value, next_value, terminated, done))
    delta = reward + gamma * jnp.where(terminated, 0.0, next_value) - value

    def backward(following, now):
        delta, done = now
        advantage = delta + gamma * gae_lambda * jnp.where(done, 0.0, following)
        return advantage, advantage

    return jax.lax.scan(backward, jnp.zeros_like(delta[0]), (delta, done), reverse=True)[1]


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
    axis: str | None = None,
) -> Learner:
    """Learn a policy; the batch is `{"index": [N]}`, one entry an instance of the environment.

    Args:
      model: `__call__(observations [B, ...]) -> (logits [B, A], values [B])`.
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
      axis: name of the mapped axis under pmap; advantages are normalized over it.

    Returns:
      The learner. evaluate and predict play one episode an example, with the most probable action.

    Raises:
      ValueError: `num_minibatches` does not divide the steps of a rollout (when update is traced).
    """

    def apply(params, observation):
        return model.apply({"params": params}, observation)

    def rollout(state: AgentState, rng: jax.Array, batch: dict):
        keys = example_keys(rng, batch)

        def step(state, t):
            logits, value = apply(state.params, state.observation)
            key = jax.vmap(lambda k: jax.random.split(jax.random.fold_in(k, t)))(keys)
            action = jax.vmap(jax.random.categorical)(key[:, 0], logits)
            after, out, finished = advance(environment, state, key[:, 1], action)
            _, next_value = apply(state.params, out.final_observation)
            log_prob, done = _log_prob(logits, action), out.terminated | out.truncated
            data = Rollout(state.observation, action, log_prob, value, out.reward, out.terminated, done, next_value)
            return after, (data, finished)

        return jax.lax.scan(step, state, jnp.arange(num_steps))

    def minibatch_loss(params, data: Rollout, advantage, target):
        logits, value = apply(params, data.observation)
        mean, variance = advantage.mean(), jnp.square(advantage).mean()
        if axis is not None:
            mean, variance = jax.lax.pmean((mean, variance), axis)
        normalized = (advantage - mean) / jnp.sqrt(jnp.maximum(variance - mean**2, 0) + 1e-8)
        policy = clipped_surrogate_loss(_log_prob(logits, data.action), data.log_prob, normalized, clip_eps)
        error = 0.5 * jnp.square(value - target)
        log_p = jax.nn.log_softmax(logits)
        entropy = -(jnp.exp(log_p) * log_p).sum(-1)
        total = policy + vf_coef * error - ent_coef * entropy
        return total.mean(), {"policy_loss": Sum.of(policy), "value_loss": Sum.of(error), "entropy": Sum.of(entropy)}

    def update(state: AgentState, batch: dict) -> tuple[AgentState, Metrics]:
        root = jax.random.fold_in(state.rng, state.step)
        state, (data, finished) = rollout(state, jax.random.fold_in(root, 0), batch)
        advantage = generalized_advantages(
            data.reward, data.value, data.next_value, data.terminated, data.done, gamma, gae_lambda
        )
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), (data, advantage, advantage + data.value))
        size = advantage.size
        if size % num_minibatches:
            raise ValueError(f"num_minibatches={num_minibatches}: not a divisor; allowed: divisors of {size} steps")

        def step(carry, rows):
            params, opt_state = carry
            minibatch = jax.tree.map(lambda x: x[rows], flat)
            gradients, metrics = jax.grad(minibatch_loss, has_aux=True)(params, *minibatch)
            updates, opt_state = optimizer.update(gradients, opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), metrics

        keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.fold_in(root, 1), jnp.arange(num_epochs))
        rows = jax.vmap(lambda key: jax.random.permutation(key, size))(keys).reshape(num_epochs * num_minibatches, -1)
        (params, opt_state), metrics = jax.lax.scan(step, (state.params, state.opt_state), rows)
        metrics = {name: metric.collapse() for name, metric in {**metrics, "return": finished}.items()}
        return state.replace(step=state.step + 1, params=params, opt_state=opt_state), metrics

    def init(rng: jax.Array, batch: dict) -> AgentState:
        return start(environment, model, optimizer, rng, batch)

    evaluate, predict = episodes(environment, lambda params, x: apply(params, x[None])[0][0].argmax())
    return Learner(init, update, evaluate, predict, batched=("environment/*", "observation", "episode_return"))


def _log_prob(logits: jax.Array, action: jax.Array) -> jax.Array:
    return jnp.take_along_axis(jax.nn.log_softmax(logits), action[..., None], -1)[..., 0]
