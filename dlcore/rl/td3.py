"""Deterministic policy gradients for continuous actions: TD3, and DDPG as its plain form.

TD3: Fujimoto, van Hoof & Meger 2018, arXiv:1802.09477. DDPG: Lillicrap et al. 2016, arXiv:1509.02971.

    a'       = clip(pibar(s') + clip(sigma' eps, -c, c), -1, 1)                 DDPG: pibar(s')
    y        = r + gamma (1 - terminated) min_k Qbar_k(s', a')                  DDPG: Qbar_1
    L_critic = sum_k (Q_k(s, a) - y)^2 / 2
    L_actor  = -Q_1(s, pi(s)),    on every `policy_delay`th gradient step, when the targets move too (DDPG: on each)

An episode cut off by time still counts the value of its last state.
"""

from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.learner import Learner, Metrics, Range, Sum, check_arguments
from dlcore.optim import apply_part_gradients
from dlcore.rl.environments import Environment, check_environment, episodes, params_of, random_actions, start
from dlcore.rl.off_policy import (
    BATCHED,
    OffPolicy,
    OffPolicyState,
    average_targets,
    off_policy_update,
    start_off_policy,
    td_target,
)
from dlcore.rl.replay import Transition

__all__ = ["TD3", "learner"]


class TD3(NamedTuple):
    """What TD3 adds to DDPG.

    Args:
      target_noise: sigma', of TD3.
      target_noise_clip: c, of TD3.
      policy_delay: gradient steps of the critic for one of the actor, of TD3.
    """

    target_noise: Annotated[float, Range(0)] = 0.2
    target_noise_clip: Annotated[float, Range(0)] = 0.5
    policy_delay: Annotated[int, Range(1)] = 2


def _delay_actor(update_actor: jax.Array, new: OffPolicyState, old: OffPolicyState) -> OffPolicyState:
    """Return the state after a step; where the actor is not updated, with the actor before it."""
    actors = [(state.params["actor"], state.opt_state["actor"]) for state in (new, old)]
    actor, opt_state = jax.tree.map(lambda after, before: jnp.where(update_actor, after, before), *actors)
    return new.replace(params={**new.params, "actor": actor}, opt_state={**new.opt_state, "actor": opt_state})


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    environment: Environment,
    kind: Literal["td3", "ddpg"] = "td3",
    exploration_noise: Annotated[float, Range(0)] = 0.1,
    td3: TD3 = TD3(),
    off_policy: OffPolicy = OffPolicy(),
) -> Learner:
    """Learn a policy; the batch is `{"index": [N]}`, one entry per environment instance.

    Args:
      model: `dlcore.rl.networks.ActorTwinCritic`; the policy is the mode of its distribution.
      optimizer: optimizer of actor and critic, each with a state of its own.
      environment: environment with continuous actions.
      kind: td3 with its three additions, or ddpg without.
      exploration_noise: deviation of the normal noise on actions, whose range is -1 to 1.
      td3: the additions.
      off_policy: replay, gradient steps and target networks.

    Returns:
      The learner. evaluate and predict play one episode per example, without noise.
    """
    check_environment(environment, off_policy.gamma, "continuous")
    has_twin_critics = kind == "td3"

    def policy(params, x) -> Any:
        return model.apply({"params": params}, x, method="policy")

    def action_of(params, x):
        return policy(params, x).mode()

    def values(params, x, action) -> Any:
        return model.apply({"params": params}, x, action, method="values")

    def loss(params, targets, data: Transition, key):
        # Target policy smoothing: clipped noise on the target action (TD3).
        action = action_of(targets, data.next_observation)  # [B, A]
        if has_twin_critics:
            noise = td3.target_noise * jax.random.normal(key, action.shape)
            action = jnp.clip(action + jnp.clip(noise, -td3.target_noise_clip, td3.target_noise_clip), -1, 1)
        # Clipped double Q-learning: the smaller of two target critics (TD3).
        next_q = values(targets, data.next_observation, action)  # [2, B]
        next_value = next_q.min(0) if has_twin_critics else next_q[0]
        q = values(params, data.observation, data.action)  # [2, B]
        critic = 0.5 * jnp.square(q - td_target(data, next_value, off_policy)).sum(0)  # [B]
        # Deterministic policy gradient through the first critic.
        value = values(jax.lax.stop_gradient(params), data.observation, action_of(params, data.observation))[0]  # [B]
        return (critic - value).mean(), {"critic_loss": Sum.of(critic), "q": Sum.of(q.mean(0))}

    def init(rng: jax.Array, batch: dict) -> OffPolicyState:
        agent = start(environment, params_of(model), optimizer, rng, batch)
        opt_state = {name: optimizer.init(part) for name, part in agent.params.items()}
        agent = agent.replace(opt_state={**opt_state, "count": jnp.zeros((), jnp.int32)})
        return start_off_policy(agent, environment, agent.params, off_policy)

    def act(state: OffPolicyState, keys: jax.Array) -> jax.Array:
        action = action_of(state.params, state.observation)
        noise = jax.vmap(lambda key: jax.random.normal(key, action.shape[1:]))(keys)
        action = jnp.clip(action + exploration_noise * noise, -1, 1)
        return jnp.where(state.replay.written < off_policy.learning_starts, random_actions(environment, keys), action)

    def learn(state: OffPolicyState, data: Transition, key: jax.Array) -> tuple[OffPolicyState, Metrics]:
        # One gradient for critic and actor.
        gradients, metrics = jax.grad(loss, has_aux=True)(state.params, state.target_params, data, key)
        # Delayed policy updates: the actor and the targets move every `policy_delay` steps (TD3).
        count = state.opt_state["count"] + 1
        update_actor = count % (td3.policy_delay if has_twin_critics else 1) == 0
        # Optimizer step of each part; the actor's is discarded in between.
        after = state
        for part, gradient in gradients.items():
            after = apply_part_gradients(after, optimizer, part, gradient)
        after = _delay_actor(update_actor, after, state)
        # Polyak average of the target networks.
        targets = average_targets(state.target_params, after.params, jnp.where(update_actor, off_policy.tau, 0.0))
        return after.replace(opt_state={**after.opt_state, "count": count}, target_params=targets), metrics

    update = off_policy_update(environment, act, learn, off_policy)
    evaluate, predict = episodes(environment, lambda state, x: action_of(state.params, x[None])[0])
    return Learner(init, update, evaluate, predict, batched=BATCHED)
