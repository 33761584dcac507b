"""Finite Markov decision processes as arrays: states, actions, the outcomes of an action, and a discount.

Sutton & Barto 2018, chapter 3. An action in a state has K possible outcomes, each a next state with its probability
and its reward, so that a grid of 10,000 cells needs no matrix of 10,000 by 10,000:

    P(s' | s, a) = sum_k probability[s, a, k] [successor[s, a, k] = s']
    J = E[sum_t gamma^t r_t]  over trajectories that a policy draws, from t = 0 on

An absorbing state ends an episode: every action stays there, for reward 0. Arrays are float64 on the host; computations
have the precision of jax (`jax.enable_x64`).
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_whole_number
from dlcore.ops.checks import check_finite, check_indices, check_probabilities, check_shapes
from dlcore.rl.environments import Environment, Step

__all__ = [
    "MDP",
    "Trajectory",
    "as_environment",
    "check_endings",
    "check_policy",
    "discounted_sum",
    "expected_reward",
    "from_transition",
    "make",
    "rollout",
    "state_distributions",
    "transition_matrix",
    "uniform_policy",
]

_SUM_TOLERANCE = 1e-6


class MDP(NamedTuple):
    """A finite Markov decision process.

    Args:
      successor: [S, A, K] int32, the next state of each outcome.
      probability: [S, A, K], of each outcome; those of an action sum to 1.
      reward: [S, A, K], of each outcome.
      absorbing: [S] bool, states that end an episode.
      start: [S], probability of each state at t = 0.
      gamma: discount a step.
    """

    successor: np.ndarray
    probability: np.ndarray
    reward: np.ndarray
    absorbing: np.ndarray
    start: np.ndarray
    gamma: float

    @property
    def num_states(self) -> int:
        """S."""
        return self.successor.shape[0]

    @property
    def num_actions(self) -> int:
        """A."""
        return self.successor.shape[1]


class Trajectory(NamedTuple):
    """A trajectory of T steps.

    Args:
      state: [T] int, before the action.
      action: [T] int.
      reward: [T].
      next_state: [T] int.
      running: [T] bool, whether the step began before the end of the episode.
    """

    state: jax.Array
    action: jax.Array
    reward: jax.Array
    next_state: jax.Array
    running: jax.Array


def make(
    successor: np.ndarray,
    probability: np.ndarray,
    reward: np.ndarray,
    *,
    gamma: float,
    absorbing: Sequence[int] = (),
    start: np.ndarray | None = None,
) -> MDP:
    """Check the outcomes of all actions, and let absorbing states stay where they are.

    Args:
      successor: [S, A, K] int, the next state of each outcome.
      probability: [S, A, K], of each outcome.
      reward: reward of each outcome; broadcast to [S, A, K].
      gamma: discount a step, in [0, 1].
      absorbing: numbers of the states that end an episode; their outcomes are replaced.
      start: [S], probability of each state at t = 0; None starts in any state that is not absorbing, alike.

    Returns:
      The process.
    """
    try:
        numbers, probability = np.asarray(successor, np.float64), np.array(probability, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError("successor and probability: no arrays of numbers; allowed: [S, A, K] both") from error
    successor = np.where(np.isfinite(numbers), numbers, -1).astype(np.int32)
    if (fraction := numbers != successor).any():
        raise ValueError(f"successor={numbers[fraction][0]}: no whole number; allowed: numbers of states")
    if successor.ndim != 3 or probability.shape != successor.shape:
        shapes = f"{list(successor.shape)} and {list(probability.shape)}"
        raise ValueError(f"successor and probability: shapes {shapes}; allowed: [S, A, K] both")
    if not successor.size:
        raise ValueError(f"successor: shape {list(successor.shape)}; allowed: [S, A, K], none of them 0")
    try:
        reward = np.broadcast_to(np.asarray(reward, np.float64), successor.shape).copy()
    except ValueError as error:
        allowed = f"what broadcasts to {list(successor.shape)}"
        raise ValueError(f"reward: shape {list(np.shape(reward))}; allowed: {allowed}") from error
    check_finite("reward", reward)
    num_states = len(successor)
    # Absorbing states lead to themselves and pay nothing.
    is_absorbing = np.zeros(num_states, bool)
    if np.ndim(absorbing) != 1:
        raise ValueError(f"absorbing={absorbing}: no numbers of states; allowed: a list of them")
    check_indices("absorbing", list(absorbing), num_states, "states")
    is_absorbing[list(absorbing)] = True
    successor[is_absorbing], reward[is_absorbing] = np.flatnonzero(is_absorbing)[:, None, None], 0.0
    probability[is_absorbing] = np.arange(successor.shape[2]) == 0
    if successor.min() < 0 or successor.max() >= num_states:
        invalid = successor[(successor < 0) | (successor >= num_states)][0]
        raise ValueError(f"successor={invalid}: no such state; allowed: 0 to {num_states - 1}")
    _check_sums("probability", probability, "of an action's outcomes")
    check_finite("gamma", gamma)
    check_shapes(gamma=(gamma, "0 to 1"))
    if start is None:
        start = ~is_absorbing / max(1, (~is_absorbing).sum())
    start = np.asarray(start, np.float64)
    if start.shape != (num_states,):
        raise ValueError(f"start: shape {list(start.shape)}; allowed: [{num_states}], one probability a state")
    _check_sums("start", start, "of all states")
    if start[is_absorbing].any():
        raise ValueError(
            f"start: state {np.flatnonzero(is_absorbing & (start > 0))[0]} is absorbing; allowed: states that go on"
        )
    return MDP(successor, probability, reward, is_absorbing, start, gamma)


def _check_sums(name: str, probability: np.ndarray, what: str) -> None:
    if not (probability >= 0).all():
        raise ValueError(f"{name}: {np.nanmin(probability):g} among them; allowed: at least 0")
    sums = probability.sum(-1)
    if np.abs(sums - 1).max() > _SUM_TOLERANCE:
        where = np.unravel_index(np.abs(sums - 1).argmax(), sums.shape)
        index = f" at {list(map(int, where))}" if where else ""
        raise ValueError(f"{name}: a sum of {sums[where]:g}{index}; allowed: 1, {what}")


def from_transition(
    transition: np.ndarray,
    reward: np.ndarray,
    *,
    gamma: float,
    absorbing: Sequence[int] = (),
    start: np.ndarray | None = None,
) -> MDP:
    """Build a process from its matrix of transition probabilities.

    Args:
      transition: [S, A, S], P(s' | s, a).
      reward: [S, A], expected, or [S, A, S] by the next state.
      gamma: discount a step, in [0, 1].
      absorbing: numbers of the states that end an episode; their rows are replaced.
      start: [S], probability of each state at t = 0; None starts in any state that is not absorbing, alike.

    Returns:
      The process, whose K is the largest number of next states of an action.
    """
    transition, reward = np.asarray(transition, np.float64), np.asarray(reward, np.float64)
    if transition.ndim != 3 or transition.shape[0] != transition.shape[2]:
        raise ValueError(f"transition: shape {list(transition.shape)}; allowed: [S, A, S]")
    if reward.shape not in (transition.shape, transition.shape[:2]):
        allowed = f"{list(transition.shape[:2])} or {list(transition.shape)}"
        raise ValueError(f"reward: shape {list(reward.shape)}; allowed: {allowed}")
    outcomes = max(1, (transition != 0).sum(-1).max())
    successor = np.argsort(transition == 0, axis=-1, kind="stable")[..., :outcomes]
    by_state = np.broadcast_to(reward if reward.ndim == 3 else reward[..., None], transition.shape)
    probability, reward = (np.take_along_axis(x, successor, -1) for x in (transition, by_state))
    return make(successor, probability, reward, gamma=gamma, absorbing=absorbing, start=start)


def transition_matrix(mdp: MDP) -> np.ndarray:
    """Write out P(s' | s, a), for small processes.

    Args:
      mdp: the process.

    Returns:
      [S, A, S] float64.
    """
    matrix = np.zeros((mdp.num_states, mdp.num_actions, mdp.num_states))
    states, actions = np.ogrid[: mdp.num_states, : mdp.num_actions]
    np.add.at(matrix, (states[..., None], actions[..., None], mdp.successor), mdp.probability)
    return matrix


def expected_reward(mdp: MDP) -> jax.Array:
    """Average the reward of an action over its outcomes.

    Args:
      mdp: the process.

    Returns:
      [S, A].
    """
    return (jnp.asarray(mdp.probability) * mdp.reward).sum(-1)


def uniform_policy(mdp: MDP) -> np.ndarray:
    """Choose every action alike.

    Args:
      mdp: the process.

    Returns:
      [S, A] probabilities.
    """
    return np.full((mdp.num_states, mdp.num_actions), 1 / mdp.num_actions)


def check_policy(mdp: MDP, policy: np.ndarray | jax.Array) -> None:
    """Check that a policy is one of a process.

    Args:
      mdp: the process.
      policy: [S, A] probabilities; traced ones pass.
    """
    if np.shape(policy) != (mdp.num_states, mdp.num_actions):
        expected = [mdp.num_states, mdp.num_actions]
        raise ValueError(f"policy={list(np.shape(policy))}: wrong shape; allowed: {expected}, states and actions")
    check_probabilities("policy", policy)


def check_endings(mdp: MDP, policy: np.ndarray | jax.Array | None = None) -> None:
    """Refuse values that need not exist: undiscounted sums over episodes that may never end.

    Under a policy, every state must reach an absorbing one. Over all policies, every state must be able to, and no
    policy may stay away from the ends for ever without paying in every step.

    Args:
      mdp: the process.
      policy: [S, A] probabilities; None asks for all policies.
    """
    if policy is not None:
        check_policy(mdp, policy)
    if mdp.gamma < 1:
        return
    possible = mdp.probability > 0
    possible_under_policy = possible if policy is None else possible & (np.asarray(policy) > 0)[..., None]
    # Grow the set of states from which an end can be reached.
    ending = mdp.absorbing.copy()
    while True:
        grown = ending | (possible_under_policy & ending[mdp.successor]).any((1, 2))
        if (grown == ending).all():
            break
        ending = grown
    if not ending.all():
        raise ValueError(
            f"gamma=1: state {np.flatnonzero(~ending)[0]} never reaches an absorbing state, its episodes are endless; "
            "allowed: gamma below 1, or a policy under which every episode ends"
        )
    if policy is not None:
        return
    # Actions that cost nothing: shrink to states where a policy can take them for ever.
    free = (mdp.probability * mdp.reward).sum(-1) >= 0
    going = ~mdp.absorbing
    while True:
        left = going & (free & (~possible | going[mdp.successor]).all(-1)).any(-1)
        if (left == going).all():
            break
        going = left
    if going.any():
        raise ValueError(
            f"gamma=1: a policy may stay away from the end for ever and pay nothing, from state "
            f"{np.flatnonzero(going)[0]} on; allowed: gamma below 1, or a negative reward in each such step"
        )


def discounted_sum(rewards: jax.Array, gamma: float | jax.Array) -> jax.Array:
    """Sum rewards: sum_t gamma^t r_t, from t = 0 on.

    Args:
      rewards: [T, ...], zero after the end of an episode.
      gamma: discount a step.

    Returns:
      [...].
    """
    check_shapes(gamma=(gamma, "0 to 1"))
    dtype = jnp.result_type(rewards.dtype, jnp.float32)
    return jnp.tensordot(jnp.asarray(gamma, dtype) ** jnp.arange(rewards.shape[0]), rewards, 1)


def _draw(key: jax.Array, probability: jax.Array) -> jax.Array:
    """Return an index [] int32, by one random number whatever the length: where the cumulative sum exceeds it."""
    total = jnp.cumsum(probability)
    return jnp.searchsorted(total, jax.random.uniform(key) * total[-1], side="right").astype(jnp.int32)


def _outcome(mdp: MDP, key: jax.Array, state: jax.Array, action: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(next state, reward), drawn."""
    k = _draw(key, jnp.asarray(mdp.probability)[state, action])
    return jnp.asarray(mdp.successor)[state, action, k], jnp.asarray(mdp.reward)[state, action, k]


def rollout(mdp: MDP, policy: jax.Array, key: jax.Array, num_steps: int) -> Trajectory:
    """Draw one trajectory; the same key draws the same.

    Args:
      mdp: the process.
      policy: [S, A] probabilities, or [T, S, A] for each step.
      key: random key of the trajectory.
      num_steps: T.

    Returns:
      The trajectory; where the episode ends earlier, it stays in the absorbing state for reward 0.

    Raises:
      ValueError: a concrete policy is no probabilities of this shape, or `num_steps` is no whole number from 1.
    """
    return _rollout(mdp, _policy_of_steps(mdp, policy, num_steps), key)


def _policy_of_steps(mdp: MDP, policy: jax.Array, num_steps: int) -> jax.Array:
    """Check a policy, and repeat it: [T, S, A]."""
    check_shapes(num_steps=(num_steps, "int >= 1"))
    shape, full_shape = np.shape(policy), (num_steps, mdp.num_states, mdp.num_actions)
    if shape not in (full_shape[1:], full_shape):
        allowed = f"{list(full_shape[1:])}, states and actions, or {list(full_shape)}, steps before them"
        raise ValueError(f"policy={list(shape)}: wrong shape; allowed: {allowed}")
    check_probabilities("policy", policy)
    return jnp.broadcast_to(jnp.asarray(policy), full_shape)


@jax.jit
def _rollout(mdp: MDP, policy: jax.Array, key: jax.Array) -> Trajectory:
    first = _draw(jax.random.fold_in(key, 0), jnp.asarray(mdp.start))

    def step(state, t_and_policy):
        t, policy = t_and_policy
        choose, move_key = jax.random.split(jax.random.fold_in(key, t + 1))
        action = _draw(choose, policy[state])
        after, reward = _outcome(mdp, move_key, state, action)
        return after, Trajectory(state, action, reward, after, ~jnp.asarray(mdp.absorbing)[state])

    return jax.lax.scan(step, first, (jnp.arange(len(policy)), policy))[1]


def state_distributions(mdp: MDP, policy: jax.Array, num_steps: int) -> jax.Array:
    """Compute where a policy is at each time, by a forward pass.

    Args:
      mdp: the process.
      policy: [S, A] probabilities, or [T, S, A] for each step.
      num_steps: T.

    Returns:
      [T, S], probability of each state at t = 0, ..., T - 1.

    Raises:
      ValueError: a concrete policy is no probabilities of this shape, or `num_steps` is no whole number from 1.
    """
    return _state_distributions(mdp, _policy_of_steps(mdp, policy, num_steps))


@jax.jit
def _state_distributions(mdp: MDP, policy: jax.Array) -> jax.Array:
    def step(now, policy):
        flow = (now[:, None] * policy)[..., None] * mdp.probability
        return jnp.zeros_like(now).at[mdp.successor].add(flow), now

    return jax.lax.scan(step, jnp.asarray(mdp.start), policy)[1]


def as_environment(mdp: MDP, max_steps: int, observations: np.ndarray | None = None, name: str = "mdp") -> Environment:
    """Turn a process into an environment that agents act in; the discount is the agent's.

    Args:
      mdp: the process.
      max_steps: after which an episode is truncated.
      observations: [S, ...], what an agent sees of each state; None shows the state as a one-hot vector [S].
      name: name of the environment.

    Returns:
      The environment; its state is (state of the process, steps so far).
    """
    check_whole_number("max_steps", max_steps, 1)
    if observations is not None:
        if len(observations) != mdp.num_states:
            raise ValueError(f"observations={len(observations)}: for {mdp.num_states} states; allowed: one a state")
        check_finite("observations", observations)

    def observe(state):
        if observations is None:
            return jax.nn.one_hot(state, mdp.num_states, dtype=jnp.float32)
        return jnp.asarray(observations, jnp.float32)[state]

    def reset(key):
        state = _draw(key, jnp.asarray(mdp.start))
        return (state, jnp.zeros((), jnp.int32)), observe(state)

    def step(key, before, action):
        check_indices("action", action, mdp.num_actions, "actions")
        move_key, reset_key = jax.random.split(key)
        after, reward = _outcome(mdp, move_key, before[0], action)
        num_steps = before[1] + 1
        terminated = jnp.asarray(mdp.absorbing)[after]
        # The time limit truncates; absorbing states terminate.
        truncated = ~terminated & (num_steps >= max_steps)
        # Restart at once after the end, as vectorized environments do.
        initial, _ = reset(reset_key)
        next_or_initial = jax.tree.map(
            lambda new, old: jnp.where(terminated | truncated, new, old), initial, (after, num_steps)
        )
        return next_or_initial, Step(
            observe(next_or_initial[0]), reward.astype(jnp.float32), terminated, truncated, observe(after)
        )

    shape = (mdp.num_states,) if observations is None else tuple(np.shape(observations)[1:])
    return Environment(
        name=name,
        reset=reset,
        step=step,
        num_actions=mdp.num_actions,
        observation_shape=shape,
        max_steps=max_steps,
        endless=not mdp.absorbing.any(),
    )
