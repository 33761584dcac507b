"""Deep Q-learning with a replay buffer and a target network.

Mnih et al. 2015, Nature 518; double Q-learning by van Hasselt, Guez & Silver 2016, arXiv:1509.06461.

    y = r + gamma (1 - terminated) Q_target(s', argmax_a Q(s', a))        without double: max_a Q_target(s', a)
    L = (Q(s, a) - stop_gradient(y))^2 / 2

The buffer holds the last L steps of each environment instance, [N, L, ...]; s' is the state that the action led to, so
that an episode truncated by time still bootstraps from its last state. Epsilon decays linearly from 1.
"""

import functools
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.learner import Learner, Metrics, Range, Sum, check_arguments
from dlcore.ops.checks import check_shapes
from dlcore.optim import optimizer_step
from dlcore.rl.environments import Environment, check_environment, episodes, epsilon_greedy, params_of, start
from dlcore.rl.off_policy import BATCHED, OffPolicy, OffPolicyState, off_policy_update, start_off_policy
from dlcore.rl.replay import Transition

__all__ = ["learner", "q_target"]


def q_target(
    reward: jax.Array,
    terminated: jax.Array,
    next_q: jax.Array,
    next_target_q: jax.Array,
    gamma: float | jax.Array,
    double: bool = True,
) -> jax.Array:
    """Compute the TD target y of one transition, with stop_gradient.

    Args:
      reward: [].
      terminated: [] bool.
      next_q: [A], values of s' by the network.
      next_target_q: [A], values of s' by the target network.
      gamma: discount a step.
      double: let the network choose the action that the target network values.

    Returns:
      [].
    """
    check_shapes(
        reward=(reward, ""),
        terminated=(terminated, "mask"),
        next_q=(next_q, "A"),
        next_target_q=(next_target_q, "A"),
        gamma=(gamma, "0 to 1"),
    )
    best = next_target_q[next_q.argmax()] if double else next_target_q.max()
    return jax.lax.stop_gradient(reward + gamma * jnp.where(terminated, 0.0, best))


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    environment: Environment,
    num_steps: Annotated[int, Range(1)] = 32,
    buffer_size: Annotated[int, Range(1)] = 1024,
    minibatch_size: Annotated[int, Range(1)] = 128,
    learning_starts: Annotated[int, Range(0)] = 64,
    exploration_steps: Annotated[int, Range(1)] = 2000,
    exploration_final_eps: Annotated[float, Range(0, 1)] = 0.05,
    target_update_interval: Annotated[int, Range(1)] = 100,
    gamma: Annotated[float, Range(0, 1)] = 0.99,
    double: bool = True,
) -> Learner:
    """Learn action values; the batch is `{"index": [N]}`, one entry per environment instance.

    Args:
      model: `__call__(observations [B, ...]) -> values [B, A]`.
      optimizer: any optax transformation.
      environment: see `dlcore.rl.environments`.
      num_steps: steps of each instance in one update, each followed by one gradient step.
      buffer_size: steps of each instance that the replay buffer holds.
      minibatch_size: transitions of a gradient step.
      learning_starts: steps of each instance before the first gradient step.
      exploration_steps: steps of each instance over which epsilon decays from 1 to `exploration_final_eps`.
      exploration_final_eps: final epsilon, the probability of a random action.
      target_update_interval: steps of each instance between two copies to the target network.
      gamma: discount a step.
      double: choose the next action by the network and value it by the target network.

    Returns:
      The learner. evaluate and predict play one episode per example, greedily.
    """
    check_environment(environment, gamma, "discrete")
    off_policy = OffPolicy(num_steps, 1, buffer_size, minibatch_size, learning_starts)

    def q_values(params, observation) -> Any:
        return model.apply({"params": params}, observation)

    def init(rng: jax.Array, batch: dict) -> OffPolicyState:
        agent = start(environment, params_of(model), optimizer, rng, batch)
        return start_off_policy(agent, environment, agent.params, off_policy)

    def td_loss(params, target_params, data: Transition):
        q = jnp.take_along_axis(q_values(params, data.observation), data.action[:, None], -1)[:, 0]  # [B]
        next_q, next_target_q = (q_values(p, data.next_observation) for p in (params, target_params))  # [B, A] each
        # TD target by the target network; double Q-learning selects the action by the online network.
        target_of = functools.partial(q_target, gamma=gamma, double=double)
        y = jax.vmap(target_of)(data.reward, data.terminated, next_q, next_target_q)
        losses = optax.l2_loss(q, y)  # [B]
        return losses.mean(), (losses, q)

    def act(state: OffPolicyState, keys: jax.Array) -> jax.Array:
        # Linear decay of epsilon.
        decayed = 1 - (1 - exploration_final_eps) * state.replay.written / exploration_steps
        epsilon = jnp.maximum(exploration_final_eps, decayed)
        return epsilon_greedy(environment, keys, q_values(state.params, state.observation), epsilon)

    def learn(state: OffPolicyState, data: Transition, key: jax.Array) -> tuple[OffPolicyState, Metrics]:
        # Gradient step on the TD loss.
        gradients, (losses, q) = jax.grad(td_loss, has_aux=True)(state.params, state.target_params, data)
        params, opt_state = optimizer_step(optimizer, gradients, state.opt_state, state.params)
        # Copy the online network to the target network at intervals.
        copy = state.replay.written % target_update_interval == 0
        target_params = jax.tree.map(lambda new, old: jnp.where(copy, new, old), params, state.target_params)
        state = state.replace(params=params, opt_state=opt_state, target_params=target_params)
        return state, {"loss": Sum.of(losses), "q": Sum.of(q)}

    update = off_policy_update(environment, act, learn, off_policy)
    evaluate, predict = episodes(environment, lambda state, x: q_values(state.params, x[None])[0].argmax())
    return Learner(init, update, evaluate, predict, batched=BATCHED)
