"""Dynamic programming: Sutton & Barto's table, a linear solve, the contraction in float64, two ways to the optimum."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.rl import dynamic_programming as dp
from dlcore.rl import gridworld, mdp
from experiments.rl import dynamic_programming as study

SUTTON = np.array([[0, -14, -20, -22], [-14, -18, -20, -20], [-20, -20, -18, -14], [-22, -20, -14, 0]])
"""Figure 4.1 of Sutton & Barto 2018, the random policy's values."""


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def sutton(gamma=1.0):
    return gridworld.make(gridworld.MAPS["corners"], gamma=gamma, step_reward=-1.0, ends={"G": 0.0}).mdp


def slippery(gamma=0.9):
    return gridworld.make(gridworld.MAPS["four_rooms"], gamma=gamma, slip=0.2, step_reward=-0.02).mdp


def random_process(seed, gamma=0.8):
    rng = np.random.default_rng(seed)
    return mdp.from_transition(rng.dirichlet(np.ones(6), (6, 3)), rng.normal(size=(6, 3)), gamma=gamma, absorbing=[5])


@pytest.mark.covers("RL-02")
def test_the_table_of_sutton_and_barto(float64):
    process = sutton()
    policy = mdp.uniform_policy(process)
    found = dp.evaluate_policy(process, policy, tolerance=1e-10)
    np.testing.assert_allclose(found.values.reshape(4, 4), SUTTON, atol=1e-6)
    np.testing.assert_allclose(dp.solve_policy(process, policy).reshape(4, 4), SUTTON, atol=1e-6)
    # After 1, 2 and 3 sweeps, in the same figure, to the digit that it shows.
    sweeps = dp.value_sweeps(process, 3, policy)
    np.testing.assert_array_equal(sweeps[0], 0)
    np.testing.assert_allclose(sweeps[1:, 1], [-1, -1.75, -2.4375])
    np.testing.assert_allclose(sweeps[1:, 2], [-1, -2, -2.9375])
    np.testing.assert_allclose(sweeps[1:, 3], [-1, -2, -3])


@pytest.mark.slow
@pytest.mark.covers("RL-02")
def test_values_are_those_of_the_inverse_and_of_many_trajectories(float64):
    process = random_process(0)
    policy = np.random.default_rng(0).dirichlet(np.ones(3), 6)
    matrix = np.einsum("sa,sat->st", policy, mdp.transition_matrix(process))
    reward = (policy * np.asarray(mdp.expected_reward(process))).sum(1)
    exact = np.linalg.inv(np.eye(6) - 0.8 * matrix) @ reward
    np.testing.assert_allclose(dp.solve_policy(process, policy), exact, atol=1e-12)
    found = dp.evaluate_policy(process, policy, tolerance=1e-12)
    np.testing.assert_allclose(found.values, exact, atol=1e-10)
    assert exact[5] == found.values[5] == 0
    np.testing.assert_allclose((policy * dp.action_values(process, exact)).sum(1), exact, atol=1e-12)
    keys = jax.random.split(jax.random.key(0), 4000)
    drawn = jax.jit(jax.vmap(lambda key: mdp.rollout(process, policy, key, 60)))(keys)
    returns = jax.vmap(lambda r: mdp.discounted_sum(r, 0.8))(drawn.reward)
    error = returns.std() / 4000**0.5
    assert abs(returns.mean() - process.start @ exact) < 4 * error


@pytest.mark.covers("RL-03")
def test_a_sweep_takes_the_best_action_of_the_last_values(float64):
    # E38: the right side reads Q_i, not Q*. A corridor s0 -> s1 -> s2 -> end that pays 1 at its end, gamma 1/2: the
    # value travels one state a sweep.
    process = gridworld.make("...G", gamma=0.5).mdp
    np.testing.assert_allclose(
        dp.value_sweeps(process, 4), [[0, 0, 0, 0], [0, 0, 1, 0], [0, 0.5, 1, 0], [0.25, 0.5, 1, 0], [0.25, 0.5, 1, 0]]
    )


@pytest.mark.covers("RL-03")
@pytest.mark.parametrize("policy", [None, "uniform"])
def test_each_sweep_contracts_by_gamma(float64, policy):
    for process in (slippery(), random_process(3)):
        chosen = None if policy is None else mdp.uniform_policy(process)
        sweeps = np.asarray(dp.value_sweeps(process, 400, chosen))
        assert sweeps.dtype == np.float64
        distances = np.abs(sweeps[:60] - sweeps[-1]).max(1)
        ratios = distances[1:] / distances[:-1]
        assert ratios.max() <= process.gamma + 1e-9
        assert ratios[:5].max() > 0.3 * process.gamma, "something has to change"
        # Of any two value functions, not only of the way to the fixed point.
        rng, look_ahead = np.random.default_rng(0), jax.jit(lambda v, process=process: dp.action_values(process, v))
        for _ in range(5):
            a, b = rng.normal(size=(2, process.num_states))
            after = [np.asarray(look_ahead(v)).max(-1) for v in (a, b)]
            assert np.abs(after[0] - after[1]).max() <= process.gamma * np.abs(a - b).max() + 1e-12


@pytest.mark.slow
@pytest.mark.covers("RL-03")
def test_value_iteration_equals_policy_iteration_and_every_policy(float64):
    for process in (slippery(), random_process(3), sutton()):
        first, second = dp.value_iteration(process, 1e-12), dp.policy_iteration(process, 1e-12)
        np.testing.assert_allclose(first.values, second.values, atol=1e-9)
        np.testing.assert_allclose(dp.solve_policy(process, second.policy), first.values, atol=1e-9)
        assert 1 <= second.improvements < 20
    process = random_process(3)
    choices = np.array(list(itertools.product(range(3), repeat=6)))  # of all 729 policies the best one
    matrices = mdp.transition_matrix(process)[np.arange(6), choices]
    rewards = np.asarray(mdp.expected_reward(process))[np.arange(6), choices]
    every = np.linalg.solve(np.eye(6) - 0.8 * matrices, rewards[..., None])[..., 0]
    np.testing.assert_allclose(dp.value_iteration(process, 1e-12).values, every.max(0), atol=1e-9)


@pytest.mark.covers("RL-03")
def test_the_best_policy_of_suttons_grid_walks_to_the_near_corner():
    found = dp.value_iteration(sutton())
    rows, columns = np.divmod(np.arange(16), 4)
    np.testing.assert_allclose(found.values, -np.minimum(rows + columns, 6 - rows - columns), atol=1e-6)
    assert found.sweeps == 4  # three to reach the last cell, one to see that nothing changes
    np.testing.assert_array_equal(found.policy.sum(1), 1)


def test_sweeps_stop_at_their_limit():
    found = dp.value_iteration(slippery(), max_sweeps=3)
    assert found.sweeps == 3
    np.testing.assert_allclose(found.values, dp.value_sweeps(slippery(), 3)[3], atol=1e-6)
    assert dp.policy_iteration(slippery(), max_improvements=1).improvements == 1


def sweep_by_hand(process, policy, values):
    """Sum over all outcomes, one after the other."""
    q = np.zeros((process.num_states, process.num_actions))
    for s, a, k in np.ndindex(*process.successor.shape):
        reward = process.reward[s, a, k] + process.gamma * values[process.successor[s, a, k]]
        q[s, a] += process.probability[s, a, k] * reward
    return q, (policy * q).sum(1)


@pytest.mark.covers("RL-03")
@pytest.mark.parametrize("scale", [0.03, 30.0])
def test_policies_improve_until_they_stay_and_sweeps_are_counted(float64, scale):
    """A policy is swept until values change by at most the tolerance, times the largest value where that is above 1.

    It keeps an action that is by at most ten tolerances worse than the best.
    """
    process, tolerance = random_process(3), 0.004
    process = process._replace(reward=scale * process.reward)
    policy, values = mdp.uniform_policy(process), np.zeros(6)
    sweeps, policies = 0, 0
    while True:
        change = np.inf
        while change > tolerance * max(1, np.abs(values).max()):
            after = sweep_by_hand(process, policy, values)[1]
            values, change, sweeps = after, np.abs(after - values).max(), sweeps + 1
        q = sweep_by_hand(process, policy, values)[0]
        keeps = (policy * q).sum(1) >= q.max(1) - 10 * tolerance * max(1, np.abs(values).max())
        improved = np.where(keeps[:, None] & (policies > 0), policy, np.eye(3)[q.argmax(1)])
        if policies and (improved == policy).all():
            break
        policy, policies = improved, policies + 1
    found = dp.policy_iteration(process, tolerance)
    np.testing.assert_allclose(found.values, values, rtol=1e-9)
    np.testing.assert_array_equal(found.policy, policy)
    assert (int(found.sweeps), int(found.improvements)) == (sweeps, policies)
    assert float(found.change) == pytest.approx(change)


def test_zero_sweeps_are_allowed_and_a_negative_number_is_not():
    np.testing.assert_array_equal(dp.value_sweeps(sutton(), 0), np.zeros((1, 16)))
    with pytest.raises(ValueError, match="num_sweeps=-1: out of range"):
        dp.value_sweeps(sutton(), -1)


@pytest.mark.covers("RL-03")
def test_a_grid_of_10000_cells():
    grid = gridworld.make(gridworld.open_map(100, 100), gamma=0.99, step_reward=-0.01)
    found = dp.value_iteration(grid.mdp)
    # d steps to the goal in the corner: 0.99^(d - 1) less 0.01 sum_{t < d} 0.99^t = 1 - 0.99^d.
    steps = 198 - grid.cells.sum(1)
    exact = np.where(steps == 0, 0, 0.99 ** (steps - 1.0) - (1 - 0.99**steps))
    np.testing.assert_allclose(found.values, exact, atol=2e-4)


def test_endless_episodes_without_a_discount_are_refused():
    process = sutton()
    into_the_wall = jnp.eye(4)[jnp.zeros(16, int)]
    with pytest.raises(ValueError, match="gamma=1: state 1 never reaches an absorbing state"):
        dp.evaluate_policy(process, into_the_wall)


def test_the_study_measures_what_it_says_and_its_verdict_turns():
    result = study.solved(0.9, 40)
    assert result["difference"] < 1e-9
    assert result["ratio"] <= 1 + 1e-9
    assert result["policies"] < result["sweeps"]
    process = study.rooms(0.9).mdp
    values = np.random.default_rng(0).normal(size=process.num_states)
    exact = np.asarray(dp.action_values(process, values)).max(-1)
    for sweep in (study.loop_sweep, study.array_sweep):
        np.testing.assert_allclose(sweep(process, values), exact, atol=1e-6)
    times = {"loop": 1.0, "arrays": 0.1, "compiled": 0.05, "whole": 1.0, "sweeps": 20}
    assert study.report({0.9: result}, times).holds
    assert not study.report({0.9: result | {"ratio": 1.01}}, times).holds
    assert not study.report({0.9: result | {"difference": 1e-3}}, times).holds
    assert not study.report({0.9: result}, times | {"loop": 0.05, "compiled": 1.0}).holds
