"""Generative adversarial imitation (GAIL): PPO whose reward is how much an action looks like an expert's.

Ho & Ermon 2016, arXiv:1606.03476; the penalty by Gulrajani et al. 2017, arXiv:1704.00028, and what follows the end of
an episode by Kostrikov et al. 2019, "Discriminator-actor-critic", arXiv:1809.02925.

    discriminator   D = sigmoid(f(s, a));   ascend  E_expert log D + E_policy log(1 - D) - c E (|grad f| - 1)^2
    policy          r = -log(1 - D)  (positive)   or   log D  (negative);   then PPO

A positive reward asks the policy to stay alive and a negative one to end the episode, whatever D says: with a constant
D, -log(1 - D) alone balances a pole, and a good return is then no sign of imitation. With `absorbing` the task goes on
after its end in a state of its own, in which D is asked, too: an end has the value r(absorbing) / (1 - gamma), and a
constant reward asks for nothing. An episode that is cut off by time counts the value of its last state either way. The
policy learns from (1 - gamma) r, so that a value is a mean of rewards and the critic starts close. Where steps of an
expert are sub-sampled and its ends are not, ends weigh too much: an expert that falls is then imitated by falling.
"""

import functools
import math
from collections.abc import Callable
from numbers import Real
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import struct

from dlcore.choices import check_choice
from dlcore.learner import Learner, Metrics, Range, Sum, check_arguments
from dlcore.nn import Dense
from dlcore.ops.checks import check_indices, check_shapes
from dlcore.ops.replica import replica_key
from dlcore.optim import optimizer_step
from dlcore.rl.environments import Environment, check_environment, episodes, params_of
from dlcore.rl.ppo import PPO, objective, update_epochs
from dlcore.rl.rollout import (
    BATCHED,
    GAE,
    Normalization,
    OnPolicyState,
    Rollout,
    collect,
    init_runner_state,
    most_probable_action,
)

__all__ = ["Discriminator", "GAILState", "discriminator_loss", "features", "imitation_reward", "learner"]

Logits = Callable[[Any, jax.Array], jax.Array]


class Discriminator(nn.Module):
    """The logit of "an expert's", which is 0 for everything at first.

    Args:
      width: units of each of two dense layers.
    """

    width: Annotated[int, Range(1)] = 64

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Compute logits.

        Args:
          x: [B, D], of `features`.

        Returns:
          [B].
        """
        for _ in range(2):
            x = nn.tanh(Dense(self.width)(x))
        return Dense(1, kernel_init=nn.initializers.zeros)(x)[..., 0]


@struct.dataclass
class GAILState(OnPolicyState):
    """State of an agent with a discriminator.

    Args:
      discriminator: its parameters.
      discriminator_opt_state: state of the discriminator's optimizer.
    """

    discriminator: Any
    discriminator_opt_state: Any


def features(observation: jax.Array, action: jax.Array, absorbing: jax.Array, num_actions: int | None) -> jax.Array:
    """Concatenate the discriminator's inputs; of an absorbing state only the flag that it is one.

    Args:
      observation: [B, ...].
      action: [B] int, or [B, A], clipped to [-1, 1] as the environment plays it: a policy's samples go further, and
        would be told from an expert's actions by that alone.
      absorbing: [B] bool.
      num_actions: number of discrete actions; None for continuous ones.

    Returns:
      [B, D].
    """
    check_shapes(
        observation=(observation, " ".join(["B", *map(str, np.shape(observation)[1:])])),
        action=(action, "B A" if num_actions is None else "B"),
        absorbing=(absorbing, "mask B"),
        num_actions=(num_actions, "int >= 1 or None"),
    )
    if num_actions is not None:
        check_indices("action", action, num_actions, "actions")
    action = jnp.clip(action, -1, 1) if num_actions is None else jax.nn.one_hot(action, num_actions)
    rows = observation.reshape(len(observation), math.prod(observation.shape[1:]))
    inputs = jnp.concatenate([rows, action], -1).astype(jnp.float32)
    flag = absorbing[:, None]
    # Absorbing states have zeros and a flag.
    return jnp.concatenate([jnp.where(flag, 0.0, inputs), flag], -1)


def imitation_reward(logits: jax.Array, kind: Literal["positive", "negative"]) -> jax.Array:
    """-log(1 - D) or log D, of D = sigmoid(logits).

    Args:
      logits: [...].
      kind: positive, which rewards survival, or negative, which rewards the end.

    Returns:
      [...].
    """
    check_choice("kind", kind, ("positive", "negative"))
    return jax.nn.softplus(logits) if kind == "positive" else -jax.nn.softplus(-logits)


def _absorbing_state(environment: Environment, count: int) -> jax.Array:
    """[count, D], what the discriminator sees of the state after the end."""
    action = jnp.zeros(count, jnp.int32) if environment.num_actions else jnp.zeros((count, environment.action_size))
    observation = jnp.zeros((count, *environment.observation_shape))
    return features(observation, action, jnp.ones(count, bool), environment.num_actions)


def discriminator_loss(
    logits_of: Logits,
    params: Any,
    expert: jax.Array,
    weight: jax.Array,
    policy: jax.Array,
    key: jax.Array,
    gradient_penalty: float | jax.Array,
) -> tuple[jax.Array, Metrics]:
    """Compute what the discriminator descends: its cross-entropy, and c E (|grad f| - 1)^2.

    Args:
      logits_of: (params, features [B, D]) -> logits [B].
      params: parameters of the discriminator.
      expert: [B, D], features of the expert's steps.
      weight: [B], of the expert's steps.
      policy: [B, D], features of the policy's steps.
      key: PRNG key of the mixtures.
      gradient_penalty: c.

    Returns:
      (mean loss, metrics).
    """
    check_shapes(
        expert=(expert, "B D"),
        weight=(weight, "mask B"),
        policy=(policy, "B D"),
        gradient_penalty=(gradient_penalty, ">= 0"),
    )
    real, fake = logits_of(params, expert), logits_of(params, policy)  # [B], [B]
    # Binary cross-entropy, expert against policy.
    losses = weight / weight.mean() * jax.nn.softplus(-real) + jax.nn.softplus(fake)  # [B]
    # Gradient penalty on mixtures of expert and policy samples.
    mix = jax.random.uniform(key, (len(expert), 1))
    slope = jax.vmap(jax.grad(lambda x: logits_of(params, x[None])[0]))(mix * expert + (1 - mix) * policy)  # [B, D]
    penalty = jnp.square(jnp.sqrt(jnp.square(slope).sum(-1) + 1e-12) - 1)  # [B]
    correct = jnp.concatenate([real > 0, fake < 0])
    metrics: Metrics = {"d_loss": Sum.of(losses), "d_penalty": Sum.of(penalty), "d_right": Sum.of(correct)}
    return losses.mean() + gradient_penalty * penalty.mean(), metrics


def _update_discriminator(
    loss: Callable,
    optimizer: optax.GradientTransformation,
    steps: int,
    state: GAILState,
    expert: tuple[jax.Array, jax.Array],
    candidates: tuple[jax.Array, jax.Array],
    rng: jax.Array,
) -> tuple[GAILState, Metrics]:
    """Train the discriminator on the expert's (features [B, D], weights) and as many candidates of the policy."""
    pool, weights = candidates

    def descend(carry, t):
        params, opt_state = carry
        # As many policy samples as expert ones.
        policy_key, mix_key = jax.random.split(jax.random.fold_in(rng, t))
        policy = pool[jax.random.choice(policy_key, len(pool), (len(expert[0]),), p=weights / weights.sum())]
        # Gradient of cross-entropy and penalty, then the optimizer step.
        gradients, metrics = jax.grad(loss, has_aux=True)(params, *expert, policy, mix_key)
        return optimizer_step(optimizer, gradients, opt_state, params), metrics

    carry = state.discriminator, state.discriminator_opt_state
    (params, opt_state), metrics = jax.lax.scan(descend, carry, jnp.arange(steps))
    metrics = {name: metric.collapse() for name, metric in metrics.items()} if steps else {}
    return state.replace(discriminator=params, discriminator_opt_state=opt_state), metrics


def _expert_steps(state: GAILState, demonstrations: dict, num_actions: int | None) -> tuple[jax.Array, jax.Array]:
    """(features [B, D], weights [B]) of the expert's steps."""
    observation = state.normalizer.normalize_obs(demonstrations["observation"])
    rows = features(observation, demonstrations["action"], demonstrations["absorbing"], num_actions)
    return rows, demonstrations["weight"]


def _candidates(environment: Environment, data: Rollout, absorbing: bool) -> tuple[jax.Array, jax.Array]:
    """(features, weights) of all steps of a rollout, and of an absorbing state for each episode that terminated."""
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), data)
    rows = features(flat.observation, flat.action, jnp.zeros_like(flat.terminated), environment.num_actions)
    weights = jnp.concatenate([jnp.ones(len(rows)), flat.terminated & absorbing])
    return jnp.concatenate([rows, _absorbing_state(environment, len(rows))]), weights


def _with_imitation_reward(
    reward_of: Callable[[jax.Array], jax.Array],
    environment: Environment,
    data: Rollout,
    gamma: float | jax.Array,
    absorbing: bool,
) -> Rollout:
    """Return the rollout with the discriminator's rewards, and the value of what follows an end."""

    def rewards(x, action, terminated):
        return reward_of(features(x, action, jnp.zeros_like(terminated), environment.num_actions))

    data = data._replace(reward=jax.vmap(rewards)(data.observation, data.action, data.terminated))
    if not absorbing:
        return data
    # The absorbing state pays its reward for ever.
    forever = reward_of(_absorbing_state(environment, 1))[0] / (1 - gamma)
    next_value = jnp.where(data.terminated, forever, data.next_value)
    return data._replace(next_value=next_value, terminated=jnp.zeros_like(data.terminated))


@check_arguments
def learner(
    *,
    model: nn.Module,
    discriminator: nn.Module,
    optimizer: optax.GradientTransformation,
    discriminator_optimizer: optax.GradientTransformation,
    environment: Environment,
    reward: Literal["positive", "negative"] = "positive",
    absorbing: bool = True,
    discriminator_steps: Annotated[int, Range(0)] = 4,
    gradient_penalty: Annotated[float, Range(0)] = 1.0,
    num_steps: Annotated[int, Range(1)] = 128,
    gae: GAE = GAE(),
    ppo: PPO = PPO(),
    normalize_observation: bool = True,
) -> Learner:
    """Imitate an expert without the environment's reward, which is only reported.

    A batch is `{"environments": {"index": [N]}, "demonstrations": {"observation": [B, ...], "action": [B] or [B, A],
    "absorbing": [B] bool, "weight": [B], "index": [B]}}`, as `dlcore.rl.demonstrations.select` returns them.

    Args:
      model: `__call__(observations [B, ...]) -> (distribution over actions, values [B])`.
      discriminator: `__call__(features [B, D]) -> logits [B]`.
      optimizer: optimizer of the model.
      discriminator_optimizer: optimizer of the discriminator.
      environment: see `dlcore.rl.environments`.
      reward: positive, -log(1 - D), which rewards survival, or negative, log D, which rewards the end of an episode.
      absorbing: let the task go on after its end, in a state that the discriminator sees, so that no reward is for
        survival alone.
      discriminator_steps: gradient steps of the discriminator in an update, each on all demonstrations of the batch;
        with 0 it says nothing, and what is learnt is the bias of the reward.
      gradient_penalty: c, weight of the penalty on the slope of the logit between expert and policy.
      num_steps: length of a rollout: steps of each instance in one update.
      gae: estimation of the advantages.
      ppo: weights of the policy's loss, and its passes over a rollout.
      normalize_observation: normalize the observations of policy and discriminator, by the running moments of what the
        policy saw.

    Returns:
      The learner. evaluate and predict play one episode per example, with the most probable action, and report the
      environment's reward.
    """
    gamma = gae.gamma
    check_environment(environment, gamma)
    if absorbing and isinstance(gamma, Real) and gamma >= 1:
        raise ValueError(f"gamma={gamma}: absorbing states go on forever; allowed: below 1, or absorbing=False")
    scale = jnp.where(gamma < 1, 1 - gamma, 1.0)

    def apply(params, observation) -> Any:
        return model.apply({"params": params}, observation)

    def logits_of(params, x) -> Any:
        return discriminator.apply({"params": params}, x)

    def reward_by(params, x):
        return scale * imitation_reward(logits_of(params, x), reward)

    d_loss = functools.partial(discriminator_loss, logits_of, gradient_penalty=gradient_penalty)
    train_discriminator = functools.partial(_update_discriminator, d_loss, discriminator_optimizer, discriminator_steps)

    def init(rng: jax.Array, batch: dict) -> GAILState:
        normalization = Normalization(normalize_observation)
        agent = init_runner_state(environment, params_of(model), optimizer, rng, batch["environments"], normalization)
        params = discriminator.init(jax.random.fold_in(rng, 3), _absorbing_state(environment, 1))["params"]
        opt_state = discriminator_optimizer.init(params)
        return GAILState(**vars(agent), discriminator=params, discriminator_opt_state=opt_state)

    def minibatch_loss(params, minibatch) -> tuple[jax.Array, Metrics]:
        policy, value = apply(params, minibatch[0].observation)
        data, advantage, target = minibatch
        return objective(policy, value, data, advantage, target, ppo)

    def update(state: GAILState, batch: dict) -> tuple[GAILState, Metrics]:
        root = jax.random.fold_in(state.rng, state.step)
        acting, discriminator_key, policy_key = (jax.random.fold_in(root, k) for k in range(3))
        # Collect a rollout of [T, N] transitions.
        state, data, finished = collect(apply, environment, state, acting, batch["environments"], num_steps, gamma)
        # Discriminator steps: expert against policy; replicas draw different samples.
        expert = _expert_steps(state, batch["demonstrations"], environment.num_actions)
        pool, key = _candidates(environment, data, absorbing), replica_key(discriminator_key)
        state, discriminator_metrics = train_discriminator(state, expert, pool, key)
        # The discriminator's reward replaces the environment's.
        reward_of = functools.partial(reward_by, state.discriminator)
        data = _with_imitation_reward(reward_of, environment, data, gamma, absorbing)
        # GAE on the imitation reward. [T, N]
        advantage = data.advantages(gae)
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), (data, advantage, advantage + data.value))
        # PPO epochs over shuffled minibatches of T * N / num_minibatches.
        state, metrics = update_epochs(minibatch_loss, optimizer, state, flat, policy_key, ppo)
        return state, {**discriminator_metrics, **metrics, "reward": Sum.of(data.reward / scale), "return": finished}

    def classes(state: Any, batch: dict) -> dict[str, int]:
        return {} if environment.num_actions is None else {"action": environment.num_actions}

    evaluate, predict = episodes(environment, functools.partial(most_probable_action, apply))
    return Learner(init, update, evaluate, predict, batched=BATCHED, classes=classes)
