"""Values and policies of a known Markov decision process, by sweeps over its states and by a linear solve.

Sutton & Barto 2018, chapter 4; Bellman 1957.

    policy evaluation   V_{i+1}(s) = sum_a pi(a | s) E[r + gamma V_i(s')]        V = (I - gamma P_pi)^-1 r_pi
    value iteration     Q_{i+1}(s, a) = E[r + gamma max_a' Q_i(s', a')]          V_i(s) = max_a Q_i(s, a)
    policy iteration    evaluate pi; pi(s) = argmax_a E[r + gamma V(s')]; until pi stays

A sweep reads the values of the last one, never the optimum that it is looking for, and brings two value functions
closer by gamma in the maximum norm; absorbing states keep the value 0.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from dlcore.ops.checks import check_finite, check_shapes
from dlcore.rl.mdp import MDP, check_endings, check_policy, expected_reward, uniform_policy

__all__ = [
    "Solution",
    "action_values",
    "evaluate_policy",
    "greedy_policy",
    "policy_iteration",
    "solve_policy",
    "value_iteration",
    "value_sweeps",
]


class Solution(NamedTuple):
    """Result of value iteration or policy iteration.

    Args:
      values: [S].
      policy: [S, A] probabilities: the one that was evaluated, or the best one.
      sweeps: [] int32, over all states.
      change: [] largest change of a value in the last sweep; the error is at most gamma / (1 - gamma) of it.
      improvements: [] int32, policies that were evaluated after the first one.
    """

    values: jax.Array
    policy: jax.Array
    sweeps: jax.Array
    change: jax.Array
    improvements: jax.Array


def action_values(mdp: MDP, values: jax.Array) -> jax.Array:
    """Look one step ahead: Q(s, a) = E[r + gamma V(s')].

    Args:
      mdp: the process.
      values: [S].

    Returns:
      [S, A].
    """
    check_shapes(values=(values, str(mdp.num_states)))
    return expected_reward(mdp) + mdp.gamma * (mdp.probability * jnp.asarray(values)[mdp.successor]).sum(-1)


def greedy_policy(mdp: MDP, values: jax.Array) -> jax.Array:
    """Choose the action of the largest value one step ahead; of equal ones the first.

    Args:
      mdp: the process.
      values: [S].

    Returns:
      [S, A], a one in each row.
    """
    check_finite("values", values)
    return jax.nn.one_hot(action_values(mdp, values).argmax(-1), mdp.num_actions)


def solve_policy(mdp: MDP, policy: jax.Array) -> jax.Array:
    """Solve V = r + gamma P V of a policy as one linear system, for up to some thousand states.

    Args:
      mdp: the process.
      policy: [S, A] probabilities; gradients pass.

    Returns:
      [S].
    """
    check_endings(mdp, policy)
    return _solve_policy(mdp, policy)


@jax.jit
def _solve_policy(mdp, policy):
    states = jnp.arange(mdp.num_states)
    flow = policy[..., None] * mdp.probability * ~mdp.absorbing[:, None, None]
    moves = jnp.zeros((mdp.num_states, mdp.num_states), flow.dtype).at[states[:, None, None], mdp.successor].add(flow)
    rewards = (policy * expected_reward(mdp)).sum(-1)
    return jnp.linalg.solve(jnp.eye(mdp.num_states) - mdp.gamma * moves, rewards)


def _sweep_of_policy(mdp: MDP, policy: jax.Array, values: jax.Array) -> jax.Array:
    return (policy * action_values(mdp, values)).sum(-1)


def _sweep_of_best(mdp: MDP, values: jax.Array) -> jax.Array:
    return action_values(mdp, values).max(-1)


def _until_still(sweep, values, tolerance, max_sweeps):
    """(values, sweeps, change) where a sweep changes no value by more than tolerance max(1, |V|)."""

    def not_converged(carry):
        values, sweeps, change = carry
        return (change > tolerance * jnp.maximum(1, jnp.abs(values).max())) & (sweeps < max_sweeps)

    def body(carry):
        values, sweeps, _ = carry
        after = sweep(values)
        return after, sweeps + 1, jnp.abs(after - values).max()

    start = (values, jnp.zeros((), jnp.int32), jnp.full((), jnp.inf, values.dtype))
    return jax.lax.while_loop(not_converged, body, start)


def evaluate_policy(mdp: MDP, policy: jax.Array, tolerance: float = 1e-6, max_sweeps: int = 100_000) -> Solution:
    """Evaluate a policy by sweeps from V = 0.

    Args:
      mdp: the process.
      policy: [S, A] probabilities.
      tolerance: largest change of a value in the last sweep, over max(1, the largest value).
      max_sweeps: after which to stop whatever changes.

    Returns:
      The solution.
    """
    check_endings(mdp, policy)
    _check_limits(tolerance, max_sweeps)
    return _evaluate_policy(mdp, policy, tolerance, max_sweeps)


@jax.jit
def _evaluate_policy(mdp, policy, tolerance, max_sweeps):
    still = _until_still(lambda v: _sweep_of_policy(mdp, policy, v), _zeros(mdp), tolerance, max_sweeps)
    return Solution(still[0], policy, *still[1:], jnp.zeros((), jnp.int32))


def _check_limits(tolerance: float | jax.Array, max_sweeps: int | jax.Array) -> None:
    check_shapes(tolerance=(tolerance, ">= 0"), max_sweeps=(max_sweeps, "int >= 1"))


def _zeros(mdp: MDP) -> jax.Array:
    return jnp.zeros(mdp.num_states, jnp.asarray(mdp.reward).dtype)


def value_iteration(mdp: MDP, tolerance: float = 1e-6, max_sweeps: int = 100_000) -> Solution:
    """Find the best values by sweeps from V = 0, each of which takes the best action.

    Args:
      mdp: the process.
      tolerance: largest change of a value in the last sweep, over max(1, the largest value).
      max_sweeps: after which to stop whatever changes.

    Returns:
      The solution, with the greedy policy.
    """
    check_endings(mdp)
    _check_limits(tolerance, max_sweeps)
    return _value_iteration(mdp, tolerance, max_sweeps)


@jax.jit
def _value_iteration(mdp, tolerance, max_sweeps):
    values, sweeps, change = _until_still(lambda v: _sweep_of_best(mdp, v), _zeros(mdp), tolerance, max_sweeps)
    return Solution(values, greedy_policy(mdp, values), sweeps, change, jnp.zeros((), jnp.int32))


def policy_iteration(
    mdp: MDP, tolerance: float = 1e-6, max_sweeps: int = 100_000, max_improvements: int = 1000
) -> Solution:
    """Find the best policy by evaluating and improving, from the uniform policy on.

    An action is given up only for one that is better by more than ten times what evaluation leaves open, so that
    rounding cannot make two equal actions take turns.

    Args:
      mdp: the process.
      tolerance: tolerance of each evaluation, as of `evaluate_policy`; each starts from the values of the last policy.
      max_sweeps: largest number of sweeps of each evaluation.
      max_improvements: policies after the first one to evaluate at most.

    Returns:
      The solution; `sweeps` counts those of all evaluations.
    """
    check_endings(mdp)
    _check_limits(tolerance, max_sweeps)
    check_shapes(max_improvements=(max_improvements, "int >= 0"))
    return _policy_iteration(mdp, uniform_policy(mdp), tolerance, max_sweeps, max_improvements)


@jax.jit
def _policy_iteration(mdp, first, tolerance, max_sweeps, max_improvements):
    def evaluated(policy, values):
        return _until_still(lambda v: _sweep_of_policy(mdp, policy, v), values, tolerance, max_sweeps)

    def improved(policy, values):
        q_values = action_values(mdp, values)
        best = q_values.max(-1, keepdims=True)
        # Keep the action while it is as good as the best, so that ties do not alternate.
        slack = 10 * tolerance * jnp.maximum(1, jnp.abs(values).max())
        keeps = (policy * q_values).sum(-1, keepdims=True) >= best - slack
        return jnp.where(keeps, policy, jax.nn.one_hot(q_values.argmax(-1), mdp.num_actions, dtype=policy.dtype))

    def body(carry):
        policy, values, sweeps, _, improvements, _ = carry
        # Policy evaluation, then policy improvement.
        values, more, change = evaluated(policy, values)
        after = improved(policy, values)
        return after, values, sweeps + more, change, improvements + 1, (after == policy).all()

    def not_converged(carry):
        return ~carry[-1] & (carry[-2] < max_improvements)

    values, sweeps, change = evaluated(first, _zeros(mdp))
    start = (greedy_policy(mdp, values).astype(first.dtype), values, sweeps, change, jnp.zeros((), jnp.int32), False)
    policy, values, sweeps, change, improvements, _ = jax.lax.while_loop(not_converged, body, start)
    return Solution(values, policy, sweeps, change, improvements)


def value_sweeps(mdp: MDP, num_sweeps: int, policy: jax.Array | None = None) -> jax.Array:
    """Keep the values of each sweep from V = 0, of value iteration or of a policy's evaluation.

    Args:
      mdp: the process.
      num_sweeps: how many.
      policy: [S, A] probabilities; None takes the best action in each sweep.

    Returns:
      [num_sweeps + 1, S], zeros first.
    """
    check_shapes(num_sweeps=(num_sweeps, "int >= 0"))
    if policy is not None:
        check_policy(mdp, policy)
    return _value_sweeps(mdp, policy, num_sweeps)


@functools.partial(jax.jit, static_argnums=2)
def _value_sweeps(mdp, policy, num_sweeps):
    def step(values, _):
        after = _sweep_of_best(mdp, values) if policy is None else _sweep_of_policy(mdp, policy, values)
        return after, values

    return jax.lax.scan(step, _zeros(mdp), length=num_sweeps + 1)[1]
