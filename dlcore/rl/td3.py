"""Deterministic policy gradients for continuous actions: TD3, and DDPG as its plain form.

TD3: Fujimoto, van Hoof & Meger 2018, arXiv:1802.09477. DDPG: Lillicrap et al. 2016, arXiv:1509.02971.

    a'       = clip(pibar(s') + clip(sigma' eps, -c, c), -1, 1)                 DDPG: pibar(s')
    y        = r + gamma (1 - terminated) min_k Qbar_k(s', a')                  DDPG: Qbar_1
    L_critic = sum_k (Q_k(s, a) - y)^2 / 2
    L_actor  = -Q_1(s, pi(s)),    on every `policy_delay`th gradient step, when the targets move too (DDPG: on each)

An episode cut off by time still counts the value of its last state.
"""

from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.learner import Learner, Metrics, Range, Sum, check_arguments
from dlcore.rl.environments import Environment, check_environment, episodes, params_of, random_actions, start
from dlcore.rl.off_policy import (
    BATCHED,
    OffPolicyState,
    average_targets,
    descend_parts,
    off_policy_update,
    start_off_policy,
)
from dlcore.rl.replay import Transition

__all__ = ["learner"]


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    environment: Environment,
    kind: Literal["td3", "ddpg"] = "td3",
    num_steps: Annotated[int, Range(1)] = 32,
    gradient_steps: Annotated[int, Range(1)] = 1,
    buffer_size: Annotated[int, Range(1)] = 4096,
    minibatch_size: Annotated[int, Range(1)] = 128,
    learning_starts: Annotated[int, Range(0)] = 100,
    exploration_noise: Annotated[float, Range(0)] = 0.1,
    target_noise: Annotated[float, Range(0)] = 0.2,
    target_noise_clip: Annotated[float, Range(0)] = 0.5,
    policy_delay: Annotated[int, Range(1)] = 2,
    tau: Annotated[float, Range(0, 1)] = 0.005,
    gamma: Annotated[float, Range(0, 1)] = 0.99,
    reward_scale: Annotated[float, Range(0)] = 1.0,
) -> Learner:
    """Learn a policy; the batch is `{"index": [N]}`, one entry an instance of the environment.

    Args:
      model: `dlcore.rl.networks.ActorTwinCritic`; the policy is the mode of its distribution.
      optimizer: of actor and critic, each with a state of its own.
      environment: with continuous actions.
      kind: with the three additions of TD3, or without.
      num_steps: steps of each instance in one update.
      gradient_steps: after each step of the N instances; there are gradient_steps / N of them an environment step.
      buffer_size: steps of each instance that the replay buffer holds.
      minibatch_size: steps of a gradient step.
      learning_starts: steps of each instance, of random actions, before the first gradient step.
      exploration_noise: deviation of the normal noise on actions, whose range is -1 to 1.
      target_noise: sigma', of TD3.
      target_noise_clip: c, of TD3.
      policy_delay: gradient steps of the critic for one of the actor, of TD3.
      tau: share of the way that the targets go to the networks.
      gamma: discount a step.
      reward_scale: what rewards are multiplied by before they are learned from; returns are shown as they are.

    Returns:
      The learner. evaluate and predict play one episode an example, without noise.

    Raises:
      ValueError: actions are discrete, values are infinite in this environment, or the buffer is smaller than a
        minibatch (when init is traced).
    """
    check_environment(environment, gamma, "continuous")
    has_twin_critics = kind == "td3"

    def action_of(params, x):
        return model.apply({"params": params}, x, method="policy").mode()

    def values(params, x, action):
        return model.apply({"params": params}, x, action, method="values")

    def loss(params, targets, data: Transition, key):
        # Target policy smoothing: clipped noise on the target action (TD3).
        action = action_of(targets, data.next_observation)  # [B, A]
        if has_twin_critics:
            noise = target_noise * jax.random.normal(key, action.shape)
            action = jnp.clip(action + jnp.clip(noise, -target_noise_clip, target_noise_clip), -1, 1)
        # Clipped double Q-learning: the smaller of two target critics (TD3).
        next_q = values(targets, data.next_observation, action)  # [2, B]
        next_value = next_q.min(0) if has_twin_critics else next_q[0]
        y = reward_scale * data.reward + gamma * jnp.where(data.terminated, 0.0, next_value)  # [B]
        q = values(params, data.observation, data.action)
        critic = 0.5 * jnp.square(q - jax.lax.stop_gradient(y)).sum(0)  # [B]
        # Deterministic policy gradient through the first critic.
        value = values(jax.lax.stop_gradient(params), data.observation, action_of(params, data.observation))[0]  # [B]
        metrics = {"critic_loss": critic, "q": q.mean(0)}
        return (critic - value).mean(), {name: Sum.of(numbers) for name, numbers in metrics.items()}

    def init(rng: jax.Array, batch: dict) -> OffPolicyState:
        agent = start(environment, params_of(model), optimizer, rng, batch)
        opt_state = {name: optimizer.init(part) for name, part in agent.params.items()}
        agent = agent.replace(opt_state={**opt_state, "count": jnp.zeros((), jnp.int32)})
        return start_off_policy(agent, environment, agent.params, buffer_size, minibatch_size)

    def act(state: OffPolicyState, keys: jax.Array) -> jax.Array:
        action = action_of(state.params, state.observation)
        noise = jax.vmap(lambda key: jax.random.normal(key, action.shape[1:]))(keys)
        action = jnp.clip(action + exploration_noise * noise, -1, 1)
        return jnp.where(state.replay.written < learning_starts, random_actions(environment, keys), action)

    def learn(state: OffPolicyState, data: Transition, key: jax.Array) -> tuple[OffPolicyState, Metrics]:
        # One gradient for critic and actor.
        gradients, metrics = jax.grad(loss, has_aux=True)(state.params, state.target_params, data, key)
        # Delayed policy updates: the actor and the targets move every `policy_delay` steps (TD3).
        count = state.opt_state["count"] + 1
        update_actor = count % (policy_delay if has_twin_critics else 1) == 0
        # Optimizer step; the actor's is discarded in between.
        params, opt_state = descend_parts(optimizer, gradients, state)
        opt_state["count"] = count
        new_and_old = (params["actor"], opt_state["actor"]), (state.params["actor"], state.opt_state["actor"])
        params["actor"], opt_state["actor"] = jax.tree.map(
            lambda new, old: jnp.where(update_actor, new, old), *new_and_old
        )
        # Polyak average of the target networks.
        targets = average_targets(state.target_params, params, jnp.where(update_actor, tau, 0.0))
        return state.replace(params=params, opt_state=opt_state, target_params=targets), metrics

    update = off_policy_update(environment, act, learn, num_steps, gradient_steps, minibatch_size, learning_starts)
    evaluate, predict = episodes(environment, lambda state, x: action_of(state.params, x[None])[0])
    return Learner(init, update, evaluate, predict, batched=BATCHED)
