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
from dlcore.ops.checks import check_probabilities, check_shapes
from dlcore.ops.safe_product import safe_product
from dlcore.optim import apply_part_gradients
from dlcore.rl.distributions import Categorical
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
    axes = "B" if probability is None else "B A"
    check_shapes(
        q=(q, f"2 {axes}"),
        log_prob=(log_prob, axes),
        probability=(probability, f"{axes} or None"),
        alpha=(alpha, ">= 0"),
    )
    # Clipped double Q-learning minus the temperature times log pi.
    if probability is not None:
        check_probabilities("probability", probability)
    else:
        return q.min(0) - alpha * log_prob
    # An action that is not allowed has probability 0 and log pi = -inf.
    return (safe_product(probability, q.min(0)) - alpha * safe_product(probability, log_prob)).sum(-1)


def _soft_value_and_entropy(
    model: Any, params: Any, critic: Any, x: jax.Array, alpha: jax.Array, key: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The soft value [B] of states, and the entropy [B] of their policy (its estimate by one sample, of vectors)."""
    distribution = model.apply({"params": params}, x, method="policy")
    if isinstance(distribution, Categorical):
        log_prob = jax.nn.log_softmax(distribution.logits)
        q = model.apply({"params": critic}, x, None, method="values")  # [2, B, A]
        return soft_value(q, log_prob, alpha, jnp.exp(log_prob)), distribution.entropy()
    action, log_prob = distribution.sample_and_log_prob(key)
    return soft_value(model.apply({"params": critic}, x, action, method="values"), log_prob, alpha), -log_prob


def _of_action(q: jax.Array, action: jax.Array) -> jax.Array:
    """[2, B, A] values of all actions -> [2, B] of those taken."""
    return jnp.take_along_axis(q, action[None, :, None], -1)[..., 0]


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    environment: Environment,
    off_policy: OffPolicy = OffPolicy(),
    initial_temperature: Annotated[float, Range(1e-12)] = 1.0,
    learn_temperature: bool = True,
    target_entropy_ratio: Annotated[float, Range(0, 1)] = 0.5,
) -> Learner:
    """Learn a policy; the batch is `{"index": [N]}`, one entry per environment instance.

    Args:
      model: `dlcore.rl.networks.ActorTwinCritic`, or a module with its methods `policy` and `values` and its parameters
        under "actor" and "critic".
      optimizer: optimizer of actor, critic and temperature, each with a state of its own.
      environment: see `dlcore.rl.environments`.
      off_policy: replay, gradient steps and the target critic.
      initial_temperature: alpha at the start.
      learn_temperature: let alpha follow the entropy.
      target_entropy_ratio: target entropy as a fraction of log A, for A discrete actions.

    Returns:
      The learner. evaluate and predict play one episode per example, with the most probable action.
    """
    check_environment(environment, off_policy.gamma)
    size = environment.action_size
    target_entropy = -float(size) if size else target_entropy_ratio * math.log(environment.num_actions or 1)

    def policy(params, x) -> Any:
        return model.apply({"params": params}, x, method="policy")

    def values(params, x, action=None) -> Any:
        return model.apply({"params": params}, x, action, method="values")

    def loss(params, targets, data: Transition, key):
        frozen_params, (policy_key, next_key) = jax.lax.stop_gradient(params), jax.random.split(key)
        alpha = jnp.exp(frozen_params["log_temperature"])
        # Critic: TD target by the target critic's soft value, no gradient.
        now, following = data.observation, data.next_observation
        next_value, _ = _soft_value_and_entropy(model, frozen_params, targets, following, alpha, next_key)  # [B]
        q = values(params, now, data.action) if size else _of_action(values(params, now), data.action)  # [2, B]
        critic = 0.5 * jnp.square(q - td_target(data, next_value, off_policy)).sum(0)  # [B]
        # Actor: soft value under the frozen critic.
        value, entropy = _soft_value_and_entropy(model, params, frozen_params, now, alpha, policy_key)  # [B], [B]
        # Temperature: entropy is pulled to its target.
        temperature = params["log_temperature"] * jax.lax.stop_gradient(entropy - target_entropy)  # [B]
        total = critic - value + (temperature if learn_temperature else 0.0)
        return total.mean(), {"critic_loss": Sum.of(critic), "q": Sum.of(q.mean(0)), "entropy": Sum.of(entropy)}

    def init(rng: jax.Array, batch: dict) -> OffPolicyState:
        agent = start(environment, params_of(model), optimizer, rng, batch)
        params = {**agent.params, "log_temperature": jnp.full((), math.log(initial_temperature), jnp.float32)}
        agent = agent.replace(params=params, opt_state={name: optimizer.init(part) for name, part in params.items()})
        return start_off_policy(agent, environment, {"critic": params["critic"]}, off_policy)

    def act(state: OffPolicyState, keys: jax.Array) -> jax.Array:
        distribution = policy(state.params, state.observation)
        action = jax.vmap(lambda one, key: one.sample(key))(distribution, keys)
        return jnp.where(state.replay.written < off_policy.learning_starts, random_actions(environment, keys), action)

    def learn(state: OffPolicyState, data: Transition, key: jax.Array) -> tuple[OffPolicyState, Metrics]:
        # One gradient for critic, actor and temperature; stop_gradient keeps them apart.
        gradients, metrics = jax.grad(loss, has_aux=True)(state.params, state.target_params, data, key)
        # Optimizer step of each part.
        for part, gradient in gradients.items():
            state = apply_part_gradients(state, optimizer, part, gradient)
        # Polyak average of the target critic.
        target_params = average_targets(state.target_params, {"critic": state.params["critic"]}, off_policy.tau)
        metrics["temperature"] = Sum.of(jnp.exp(state.params["log_temperature"])[None])
        return state.replace(target_params=target_params), metrics

    update = off_policy_update(environment, act, learn, off_policy)
    evaluate, predict = episodes(environment, lambda state, x: policy(state.params, x[None]).mode()[0])
    return Learner(init, update, evaluate, predict, batched=BATCHED)
