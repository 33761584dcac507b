"""Proximal policy optimisation.

Schulman, Wolski, Dhariwal, Radford & Klimov 2017, arXiv:1707.06347, equation 7; advantages by Schulman et al. 2015,
arXiv:1506.02438.

    delta_t = r_t + gamma (1 - terminated_t) V(s'_t) - V(s_t)
    A_t     = delta_t + gamma lambda (1 - done_t) A_{t+1}
    L       = -min(rho A, clip(rho, 1 - eps, 1 + eps) A) + c_v (V - R)^2 / 2 - c_e H,     rho = pi / pi_old,  R = A + V

s'_t is the state that the action led to, so that an episode cut off by time is worth what was still to come. The value
loss is not clipped, and advantages are normalised in each minibatch, as most implementations do.
"""

from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

from dlcore.learner import Learner, Metrics, Range, State, Sum, example_keys, mask_of
from dlcore.rl.environments import Environment, play

__all__ = ["PPOState", "Rollout", "clipped_surrogate_loss", "generalized_advantages", "learner"]


class Rollout(NamedTuple):
    """One environment's steps, [T, ...] each; `next_value` is V(s'), `done` is terminated or truncated."""

    observation: jax.Array
    action: jax.Array
    log_prob: jax.Array
    value: jax.Array
    reward: jax.Array
    terminated: jax.Array
    done: jax.Array
    next_value: jax.Array


@struct.dataclass
class PPOState(State):
    """environment, observation: of each instance. episode_return: [N] float32, of the episode that is running."""

    environment: Any
    observation: jax.Array
    episode_return: jax.Array


def generalized_advantages(
    reward: jax.Array,
    value: jax.Array,
    next_value: jax.Array,
    terminated: jax.Array,
    done: jax.Array,
    discount: float | jax.Array,
    trace: float | jax.Array,
) -> jax.Array:
    """A_t of one sequence; all arguments are [T], `trace` is lambda."""
    delta = reward + discount * jnp.where(terminated, 0.0, next_value) - value

    def backward(following, now):
        delta, done = now
        advantage = delta + discount * trace * jnp.where(done, 0.0, following)
        return advantage, advantage

    return jax.lax.scan(backward, jnp.zeros_like(delta[0]), (delta, done), reverse=True)[1]


def clipped_surrogate_loss(
    log_prob: jax.Array, old_log_prob: jax.Array, advantage: jax.Array, clip: float | jax.Array = 0.2
) -> jax.Array:
    """-min(rho A, clip(rho, 1 - clip, 1 + clip) A) of one action; scalars."""
    ratio = jnp.exp(log_prob - old_log_prob)
    return -jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - clip, 1 + clip) * advantage)


def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    environment: Environment,
    rollout_steps: Annotated[int, Range(1)] = 128,
    passes: Annotated[int, Range(1)] = 4,
    minibatches: Annotated[int, Range(1)] = 4,
    discount: Annotated[float, Range(0, 1)] = 0.99,
    trace: Annotated[float, Range(0, 1)] = 0.95,
    clip: Annotated[float, Range(0)] = 0.2,
    value_weight: Annotated[float, Range(0)] = 0.5,
    entropy_weight: Annotated[float, Range(0)] = 0.0,
    axis: str | None = None,
) -> Learner:
    """A policy for `environment`; the batch is `{"index": [N]}`, one entry an instance of the environment.

    Args:
      model: `__call__(observations [B, ...]) -> (logits [B, A], values [B])`.
      optimizer: any optax transformation.
      environment: see `dlcore.rl.environments`.
      rollout_steps: steps of each instance in one update.
      passes: over each rollout.
      minibatches: updates in a pass; they divide N x rollout_steps.
      discount: gamma.
      trace: lambda of the advantages.
      clip: eps of the objective.
      value_weight: c_v.
      entropy_weight: c_e.
      axis: name of the mapped axis under pmap; advantages are normalised over it.

    evaluate plays one episode an index (or a number in `episode: [B]`), with the most probable action; predict gives
    their `{"return", "length"}`: [B].
    """

    def init(rng: jax.Array, batch: dict) -> PPOState:
        env_state, observation = jax.vmap(environment.reset)(example_keys(jax.random.fold_in(rng, 0), batch))
        params = model.init(jax.random.fold_in(rng, 1), observation)["params"]
        return PPOState(
            step=jnp.zeros((), jnp.int32),
            rng=jax.random.fold_in(rng, 2),
            params=params,
            opt_state=optimizer.init(params),
            environment=env_state,
            observation=observation,
            episode_return=jnp.zeros(batch["index"].shape, jnp.float32),
        )

    def apply(params, observation):
        return model.apply({"params": params}, observation)

    def rollout(state: PPOState, batch: dict):
        keys = example_keys(jax.random.fold_in(jax.random.fold_in(state.rng, state.step), 0), batch)

        def step(carry, t):
            env_state, observation, running = carry
            logits, value = apply(state.params, observation)
            key = jax.vmap(lambda k: jax.random.split(jax.random.fold_in(k, t)))(keys)
            action = jax.vmap(jax.random.categorical)(key[:, 0], logits)
            log_prob = _log_prob(logits, action)
            env_state, out = jax.vmap(environment.step)(key[:, 1], env_state, action)
            done = out.terminated | out.truncated
            running = running + out.reward
            finished = Sum(jnp.where(done, running, 0).sum(), done.sum(dtype=jnp.int32))
            _, next_value = apply(state.params, out.final)
            data = Rollout(observation, action, log_prob, value, out.reward, out.terminated, done, next_value)
            return (env_state, out.observation, jnp.where(done, 0.0, running)), (data, finished)

        first = (state.environment, state.observation, state.episode_return)
        return jax.lax.scan(step, first, jnp.arange(rollout_steps))

    def minibatch_loss(params, data: Rollout, advantage, target):
        logits, value = apply(params, data.observation)
        mean, variance = advantage.mean(), jnp.square(advantage).mean()
        if axis is not None:
            mean, variance = jax.lax.pmean((mean, variance), axis)
        scaled = (advantage - mean) / jnp.sqrt(jnp.maximum(variance - mean**2, 0) + 1e-8)
        policy = clipped_surrogate_loss(_log_prob(logits, data.action), data.log_prob, scaled, clip)
        error = 0.5 * jnp.square(value - target)
        log_p = jax.nn.log_softmax(logits)
        entropy = -(jnp.exp(log_p) * log_p).sum(-1)
        total = policy + value_weight * error - entropy_weight * entropy
        return total.mean(), {"policy_loss": Sum.of(policy), "value_loss": Sum.of(error), "entropy": Sum.of(entropy)}

    def update(state: PPOState, batch: dict) -> tuple[PPOState, Metrics]:
        (env_state, observation, running), (data, finished) = rollout(state, batch)
        advantage = jax.vmap(
            lambda r: generalized_advantages(r.reward, r.value, r.next_value, r.terminated, r.done, discount, trace),
            in_axes=1, out_axes=1,
        )(data)  # fmt: skip
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), (data, advantage, advantage + data.value))
        size = flat[1].shape[0]
        if size % minibatches:
            raise ValueError(f"minibatches={minibatches} must divide the {size} steps of a rollout")

        def step(carry, rows):
            params, opt_state = carry
            part = jax.tree.map(lambda x: x[rows], flat)
            gradients, metrics = jax.grad(minibatch_loss, has_aux=True)(params, *part)
            updates, opt_state = optimizer.update(gradients, opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), metrics

        shuffle = jax.random.fold_in(jax.random.fold_in(state.rng, state.step), 1)
        orders = jax.vmap(lambda e: jax.random.permutation(jax.random.fold_in(shuffle, e), size))(jnp.arange(passes))
        (params, opt_state), metrics = jax.lax.scan(
            step, (state.params, state.opt_state), orders.reshape(passes * minibatches, -1)
        )
        metrics = {name: metric.collapse() for name, metric in metrics.items()} | {"return": finished.collapse()}
        return (
            state.replace(
                step=state.step + 1, params=params, opt_state=opt_state, environment=env_state,
                observation=observation, episode_return=running,
            ),
            metrics,
        )  # fmt: skip

    def predict(state: PPOState, batch: dict) -> dict[str, jax.Array]:
        def policy(key, observation):
            return apply(state.params, observation[None])[0][0].argmax()

        keys = example_keys(state.rng, {"index": batch.get("episode", batch["index"])})
        total, length = jax.vmap(lambda key: play(environment, policy, key, environment.max_steps))(keys)
        return {"return": total, "length": length}

    def evaluate(state: PPOState, batch: dict) -> Metrics:
        mask = mask_of(batch)
        return {name: Sum.of(values, mask) for name, values in predict(state, batch).items()}

    return Learner(init, update, evaluate, predict, batched=("environment/*", "observation", "episode_return"))


def _log_prob(logits: jax.Array, action: jax.Array) -> jax.Array:
    return jnp.take_along_axis(jax.nn.log_softmax(logits), action[..., None], -1)[..., 0]
