"""Soft actor-critic: returns and the entropy of the policy are both rewarded.

Haarnoja et al. 2018, "Soft actor-critic algorithms and applications", arXiv:1812.05905, with two critics and a learned
temperature alpha; discrete actions as in Christodoulou 2019, arXiv:1910.07207, by sums over actions.

    y        = r + gamma (1 - terminated) (min_k Qbar_k(s', a') - alpha log pi(a' | s')),  a' ~ pi(s')
    L_critic = sum_k (Q_k(s, a) - y)^2 / 2
    L_actor  = alpha log pi(a | s) - min_k Q_k(s, a),                                      a ~ pi(s), reparametrized
    L_alpha  = log alpha (H(pi(s)) - H*)

H* is -A for vectors of A numbers, and a share of log A for A discrete actions. An episode cut off by time still counts
the value of its last state.
"""

import math
from typing import Annotated, Any

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

__all__ = ["learner", "soft_value"]


def soft_value(q: jax.Array, log_prob: jax.Array, alpha: float | jax.Array, probability: Any = None) -> jax.Array:
    """Value a state by its actions: E_pi[min_k Q_k(s, a) - alpha log pi(a | s)].

    Args:
      q: [2, B] of one sampled action, or [2, B, A] of all actions.
      log_prob: [B] of the sample, or [B, A].
      alpha: temperature.
      probability: [B, A], by which the actions are averaged; None for a sample.

    Returns:
      [B].
    """
    # Clipped double Q-learning minus the temperature times log pi.
    value = q.min(0) - alpha * log_prob
    return value if probability is None else (probability * value).sum(-1)


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    environment: Environment,
    num_steps: Annotated[int, Range(1)] = 32,
    gradient_steps: Annotated[int, Range(1)] = 1,
    buffer_size: Annotated[int, Range(1)] = 4096,
    minibatch_size: Annotated[int, Range(1)] = 128,
    learning_starts: Annotated[int, Range(0)] = 100,
    tau: Annotated[float, Range(0, 1)] = 0.005,
    gamma: Annotated[float, Range(0, 1)] = 0.99,
    reward_scale: Annotated[float, Range(0)] = 1.0,
    initial_temperature: Annotated[float, Range(1e-12)] = 1.0,
    learn_temperature: bool = True,
    target_entropy_ratio: Annotated[float, Range(0, 1)] = 0.5,
) -> Learner:
    """Learn a policy; the batch is `{"index": [N]}`, one entry an instance of the environment.

    Args:
      model: `dlcore.rl.networks.ActorTwinCritic`, or a module with its methods `policy` and `values` and its parameters
        under "actor" and "critic".
      optimizer: of actor, critic and temperature, each with a state of its own.
      environment: see `dlcore.rl.environments`.
      num_steps: steps of each instance in one update.
      gradient_steps: after each step of the N instances; there are gradient_steps / N of them an environment step.
      buffer_size: steps of each instance that the replay buffer holds.
      minibatch_size: steps of a gradient step.
      learning_starts: steps of each instance, of random actions, before the first gradient step.
      tau: share of the way that the target critic goes to the critic after each gradient step.
      gamma: discount a step.
      reward_scale: what rewards are multiplied by before they are learned from; returns are shown as they are.
      initial_temperature: alpha at the start.
      learn_temperature: let alpha follow the entropy.
      target_entropy_ratio: of log A, for A discrete actions.

    Returns:
      The learner. evaluate and predict play one episode an example, with the most probable action.

    Raises:
      ValueError: values are infinite in this environment, or the buffer is smaller than a minibatch (when init is
        traced).
    """
    check_environment(environment, gamma)
    size = environment.action_size
    target_entropy = -float(size) if size else target_entropy_ratio * math.log(environment.num_actions)

    def policy(params, x):
        return model.apply({"params": params}, x, method="policy")

    def values(params, x, action=None):
        return model.apply({"params": params}, x, action, method="values")

    def soft_value_and_entropy(params, critic, x, alpha, key):
        """The soft value of states, and the entropy of their policy (its estimate by one sample, of vectors)."""
        distribution = policy(params, x)
        if size:
            action, log_prob = distribution.sample_and_log_prob(key)
            return soft_value(values(critic, x, action), log_prob, alpha), -log_prob
        log_prob = jax.nn.log_softmax(distribution.logits)
        return soft_value(values(critic, x), log_prob, alpha, jnp.exp(log_prob)), distribution.entropy()

    def loss(params, targets, data: Transition, key):
        frozen_params, (policy_key, next_key) = jax.lax.stop_gradient(params), jax.random.split(key)
        alpha = jnp.exp(frozen_params["log_temperature"])
        # Critic: TD target by the target critic's soft value, no gradient.
        next_value, _ = soft_value_and_entropy(frozen_params, targets, data.next_observation, alpha, next_key)  # [B]
        y = reward_scale * data.reward + gamma * jnp.where(data.terminated, 0.0, next_value)  # [B]
        if size:
            q = values(params, data.observation, data.action)  # [2, B]
        else:
            q = jnp.take_along_axis(values(params, data.observation), data.action[None, :, None], -1)[..., 0]  # [2, B]
        critic = 0.5 * jnp.square(q - jax.lax.stop_gradient(y)).sum(0)  # [B]
        # Actor: soft value under the frozen critic.
        value, entropy = soft_value_and_entropy(params, frozen_params, data.observation, alpha, policy_key)  # [B], [B]
        # Temperature: entropy is pulled to its target.
        temperature = params["log_temperature"] * jax.lax.stop_gradient(entropy - target_entropy)  # [B]
        total = critic - value + (temperature if learn_temperature else 0.0)
        metrics = {"critic_loss": critic, "q": q.mean(0), "entropy": entropy}
        return total.mean(), {name: Sum.of(numbers) for name, numbers in metrics.items()}

    def init(rng: jax.Array, batch: dict) -> OffPolicyState:
        agent = start(environment, params_of(model), optimizer, rng, batch)
        params = {**agent.params, "log_temperature": jnp.full((), math.log(initial_temperature), jnp.float32)}
        agent = agent.replace(params=params, opt_state={name: optimizer.init(part) for name, part in params.items()})
        return start_off_policy(agent, environment, {"critic": params["critic"]}, buffer_size, minibatch_size)

    def act(state: OffPolicyState, keys: jax.Array) -> jax.Array:
        distribution = policy(state.params, state.observation)
        action = jax.vmap(lambda one, key: one.sample(key))(distribution, keys)
        return jnp.where(state.replay.written < learning_starts, random_actions(environment, keys), action)

    def learn(state: OffPolicyState, data: Transition, key: jax.Array) -> tuple[OffPolicyState, Metrics]:
        # One gradient for critic, actor and temperature; stop_gradient keeps them apart.
        gradients, metrics = jax.grad(loss, has_aux=True)(state.params, state.target_params, data, key)
        # Optimizer step of each part.
        params, opt_state = descend_parts(optimizer, gradients, state)
        # Polyak average of the target critic.
        target_params = average_targets(state.target_params, {"critic": params["critic"]}, tau)
        state = state.replace(params=params, opt_state=opt_state, target_params=target_params)
        return state, {**metrics, "temperature": Sum.of(jnp.exp(params["log_temperature"])[None])}

    update = off_policy_update(environment, act, learn, num_steps, gradient_steps, minibatch_size, learning_starts)
    evaluate, predict = episodes(environment, lambda state, x: policy(state.params, x[None]).mode()[0])
    return Learner(init, update, evaluate, predict, batched=BATCHED)
