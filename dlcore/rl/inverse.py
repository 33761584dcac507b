"""Maximum-entropy inverse reinforcement learning: find the reward that explains what an expert did.

Ziebart, Maas, Bagnell & Dey 2008, "Maximum entropy inverse reinforcement learning"; the causal form of Ziebart 2010.

    soft values     Q_t(s, a) = r(s) + E[V_{t+1}(s')],   V_t(s) = log sum_a exp Q_t(s, a),   V_T = 0
    policy          pi_t(a | s) = exp(Q_t(s, a) - V_t(s))
    occupancy       D(s) = sum_t P(s_t = s), by a forward pass
    gradient        d log-likelihood / d r(s) = D_demonstrations(s) - D_policy(s)

The horizon T is that of the demonstrations, without a discount. The reward is linear in features of the state, so that
the gradient of its weights is what the demonstrations have more of each feature. A constant that is added to every
reward changes no policy: rewards are found up to it, and the mean over states is set to 0.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.choices import check_whole_number
from dlcore.ops.checks import check_finite, check_indices, check_shapes
from dlcore.rl.mdp import MDP, rollout, state_distributions

__all__ = ["Demonstrations", "Explanation", "demonstrate", "explain", "soft_policy", "visits"]


class Demonstrations(NamedTuple):
    """Trajectories of an expert.

    Args:
      states: [N, T] int, before each action.
      actions: [N, T] int.
      num_states: number of states of the process that they come from.
    """

    states: np.ndarray
    actions: np.ndarray
    num_states: int


class Explanation(NamedTuple):
    """A reward that explains demonstrations.

    Args:
      weights: [F], of the features.
      reward: [S], with mean 0.
      policy: [T, S, A], of the soft values under this reward.
      occupancy: [S], how many of the T steps the policy spends in each state.
      gap: [steps], the largest difference of a feature between demonstrations and policy, before each step.
    """

    weights: jax.Array
    reward: jax.Array
    policy: jax.Array
    occupancy: jax.Array
    gap: jax.Array


@functools.partial(jax.jit, static_argnums=2)
def soft_policy(mdp: MDP, reward: jax.Array, horizon: int) -> jax.Array:
    """Act by soft value iteration, so that a path is the likelier the larger its reward.

    Args:
      mdp: MDP whose moves count; its own rewards and discount do not.
      reward: [S], of being in a state; gradients pass.
      horizon: T.

    Returns:
      [T, S, A] probabilities.
    """
    check_shapes(reward=(reward, str(mdp.num_states)), horizon=(horizon, "int >= 1"))

    def step(values, _):
        q_values = reward[:, None] + (mdp.probability * values[mdp.successor]).sum(-1)
        return jax.nn.logsumexp(q_values, -1), jax.nn.softmax(q_values)

    return jax.lax.scan(step, jnp.zeros_like(reward), length=horizon, reverse=True)[1]


def demonstrate(mdp: MDP, policy: jax.Array, key: jax.Array, count: int) -> Demonstrations:
    """Let an expert act.

    Args:
      mdp: the process.
      policy: [T, S, A] probabilities.
      key: random key.
      count: N, trajectories.

    Returns:
      The demonstrations.
    """
    check_shapes(policy=(policy, f"T {mdp.num_states} {mdp.num_actions}"), count=(count, "int >= 1"))
    trajectories = jax.vmap(lambda key: rollout(mdp, policy, key, len(policy)))(jax.random.split(key, count))
    return Demonstrations(np.asarray(trajectories.state), np.asarray(trajectories.action), mdp.num_states)


def visits(demonstrations: Demonstrations) -> np.ndarray:
    """Count the steps that demonstrations spend in each state.

    Args:
      demonstrations: demonstrations of N trajectories.

    Returns:
      [S], the mean of a trajectory.
    """
    _check_states(demonstrations)
    counts = np.bincount(demonstrations.states.ravel(), minlength=demonstrations.num_states)
    return counts / len(demonstrations.states)


def _check_states(demonstrations: Demonstrations) -> None:
    states, count = demonstrations.states, demonstrations.num_states
    if np.ndim(states) != 2 or not np.size(states):
        raise ValueError(f"demonstrations: not [N, T] numbers of states; allowed: from 0 to {count - 1}")
    check_indices("states", states, count, "states")


def _check(mdp: MDP, demonstrations: Demonstrations, features: np.ndarray) -> None:
    states, actions = demonstrations.states, demonstrations.actions
    if demonstrations.num_states != mdp.num_states:
        raise ValueError(
            f"demonstrations: of {demonstrations.num_states} states; allowed: of the process's {mdp.num_states}"
        )
    _check_states(demonstrations)
    if actions.shape != states.shape:
        raise ValueError(f"actions: shape {list(actions.shape)}; allowed: {list(states.shape)}, as the states")
    check_indices("actions", actions, mdp.num_actions, "actions")
    check_finite("features", features)
    if features.ndim != 2 or len(features) != mdp.num_states:
        raise ValueError(f"features: shape {list(features.shape)}; allowed: [{mdp.num_states}, F], a row a state")


def explain(
    mdp: MDP,
    demonstrations: Demonstrations,
    features: np.ndarray | None = None,
    *,
    steps: int = 300,
    learning_rate: float = 0.1,
    l2: float = 0.0,
) -> Explanation:
    """Find the reward under which demonstrations are the most probable, by Adam.

    Args:
      mdp: MDP whose moves and start count; its own rewards do not.
      demonstrations: demonstrations of this process.
      features: [S, F] of the states; None gives each state its own reward.
      steps: number of steps of Adam.
      learning_rate: learning rate of Adam; it falls to 0 by a cosine.
      l2: weight of half the squared weights.

    Returns:
      The reward, and the policy that it leads to.
    """
    check_shapes(learning_rate=(learning_rate, "> 0"), l2=(l2, ">= 0"))
    check_whole_number("steps", steps, 1)
    features = np.eye(mdp.num_states) if features is None else np.asarray(features)
    _check(mdp, demonstrations, features)
    return _explain(mdp, visits(demonstrations), features, demonstrations.states.shape[1], steps, learning_rate, l2)


@functools.partial(jax.jit, static_argnums=(3, 4))
def _explain(mdp, expert_visits, features, horizon, steps, learning_rate, l2):
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))

    def led_to(weights):
        policy = soft_policy(mdp, features @ weights, horizon)
        return policy, state_distributions(mdp, policy, horizon).sum(0)

    def step(carry, _):
        weights, state = carry
        # Gradient of the log-likelihood: expert's feature counts minus the policy's.
        excess = features.T @ (expert_visits - led_to(weights)[1])
        updates, state = optimizer.update(l2 * weights - excess, state)
        return (optax.apply_updates(weights, updates), state), jnp.abs(excess).max()

    weights = jnp.zeros(features.shape[1])
    (weights, _), gap = jax.lax.scan(step, (weights, optimizer.init(weights)), length=steps)
    reward = features @ weights
    return Explanation(jnp.asarray(weights), reward - reward.mean(), *led_to(weights), gap)
