"""Inverse reinforcement learning: likelihoods by enumeration, their gradient by autodiff, and a reward found."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.rl import gridworld, inverse, mdp
from experiments.rl import inverse as study


def small(slip=0.0):
    return gridworld.make("...\n.#.\nS..", slip=slip).mdp


@pytest.mark.covers("RL-09")
def test_a_path_is_as_likely_as_the_exponential_of_its_reward():
    # Without slips a path's probability is exp(sum of rewards) over the sum of all 4^4 paths from the start.
    process, horizon = small(), 4
    reward = np.random.default_rng(0).normal(size=8)
    policy = np.asarray(inverse.soft_policy(process, reward, horizon))
    np.testing.assert_allclose(policy.sum(-1), 1, rtol=1e-5)
    totals, likelihoods, counts = [], [], np.zeros((4**horizon, 8))
    for row, actions in enumerate(itertools.product(range(4), repeat=horizon)):
        state, total, probability = int(process.start.argmax()), 0.0, 1.0
        for t, action in enumerate(actions):
            total, probability = total + reward[state], probability * policy[t, state, action]
            counts[row, state] += 1
            state = process.successor[state, action, 0]
        totals.append(total)
        likelihoods.append(probability)
    expected = np.exp(totals) / np.exp(totals).sum()
    np.testing.assert_allclose(likelihoods, expected, rtol=1e-4)
    occupancy = mdp.state_distributions(process, policy, horizon).sum(0)
    np.testing.assert_allclose(occupancy, expected @ counts, atol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("RL-09")
def test_the_gradient_is_the_difference_of_occupancies():
    process, horizon = small(), 6
    reward = np.random.default_rng(1).normal(size=8)
    shown = inverse.demonstrate(process, inverse.soft_policy(process, -reward, horizon), jax.random.key(0), 20)

    def log_likelihood(reward):
        policy = inverse.soft_policy(process, reward, horizon)
        return jnp.log(policy[jnp.arange(horizon), shown.states, shown.actions]).sum(1).mean()

    occupancy = mdp.state_distributions(process, inverse.soft_policy(process, reward, horizon), horizon).sum(0)
    np.testing.assert_allclose(jax.grad(log_likelihood)(reward), inverse.visits(shown) - occupancy, atol=1e-4)


@pytest.mark.slow
@pytest.mark.covers("RL-09")
def test_a_reward_is_found_by_its_features():
    numbers, maps = study.trial(5, 3, 300, 8, 150, 0)
    assert numbers["tau, features"] >= 0.8 > numbers["tau, visits"] + 0.1
    assert numbers["total variation, features"] <= 0.05 < numbers["total variation, uniform policy"]
    assert all(values.shape == (5, 5) for values in maps.values())


@pytest.mark.slow
def test_the_found_policy_meets_the_demonstrations():
    process = small(0.2)
    features = np.eye(8)[:, [0, 2, 5]]
    expert = inverse.soft_policy(process, features @ [1.0, -1.0, 0.5], 6)
    shown = inverse.demonstrate(process, expert, jax.random.key(1), 100)
    found = inverse.explain(process, shown, features, steps=200)
    np.testing.assert_allclose(features.T @ found.occupancy, features.T @ inverse.visits(shown), atol=2e-3)
    assert found.gap[-1] < 0.01 < found.gap[0]
    np.testing.assert_allclose(found.reward.mean(), 0, atol=1e-6)
    assert inverse.visits(shown).sum() == pytest.approx(6)


def test_bad_demonstrations_get_one_clear_error():
    process = small()
    zeros = np.zeros((2, 3), int)
    for shown, features, message in (
        (inverse.Demonstrations(zeros, zeros, 25), None, "demonstrations: of 25 states; allowed: of the process's 8"),
        (inverse.Demonstrations(zeros + 8, zeros, 8), None, r"states\[0, 0\]=8: out of range; allowed: 0 to 7"),
        (inverse.Demonstrations(zeros, zeros[:1], 8), None, r"actions: shape \[1, 3\]; allowed: \[2, 3\]"),
        (inverse.Demonstrations(zeros[0], zeros, 8), None, r"demonstrations: not \[N, T\] numbers of states; allowed"),
        (inverse.Demonstrations(zeros, zeros, 8), np.ones((5, 2)), r"features: shape \[5, 2\]; allowed: \[8, F\]"),
    ):
        with pytest.raises(ValueError, match=message):
            inverse.explain(process, shown, features)
    shown = inverse.Demonstrations(zeros, zeros, 8)
    one = jax.eval_shape(lambda l2: inverse.explain(process, shown, steps=1, l2=l2), 0.1)
    assert one.gap.shape == (1,)


def test_the_verdict_turns():
    good = {"tau, features": [0.9], "tau, cells": [0.6], "tau, visits": [0.5], "total variation, features": [0.03]}
    good |= {f"total variation, {name}": [0.1] for name in ("cells", "visits", "uniform policy")}
    assert study.report(good).holds
    swapped = good | {"tau, features": good["tau, visits"], "tau, visits": good["tau, features"]}
    assert not study.report(swapped).holds
    assert not study.report(good | {"tau, visits": [0.85]}).holds
    assert not study.report(good | {"total variation, features": [0.1]}).holds


@pytest.mark.covers("RL-09")
def test_two_steps_towards_a_reward_by_hand():
    """Adam on minus the excess of visits plus l2 w, at rates 0.2 and 0.1 of a cosine; two walks go up and right.

    States are numbered 0 1 2 / 3 4 / 5 6 7; visits in three steps are 5, 3, 0 and 5, 6, 7, halved.
    """
    process, l2 = small(), 0.3
    shown = inverse.Demonstrations(np.array([[5, 3, 0], [5, 6, 7]]), np.zeros((2, 3), int), 8)
    visited = np.array([0.5, 0, 0, 0.5, 0, 1, 0.5, 0.5])
    np.testing.assert_array_equal(inverse.visits(shown), visited)
    features = np.random.default_rng(0).normal(size=(8, 2)).astype(np.float32)
    found = inverse.explain(process, shown, features, steps=2, learning_rate=0.2, l2=l2)

    @jax.jit
    def led_to(weights):
        policy = inverse.soft_policy(process, features @ weights, 3)
        return policy, mdp.state_distributions(process, policy, 3).sum(0)

    w, m, v, gaps = np.zeros(2, np.float32), 0, 0, []
    for t, rate in ((1, 0.2), (2, 0.1)):
        excess = features.T @ (visited - led_to(w)[1])
        gradient = l2 * w - excess
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        w = np.float32(w - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8))
        gaps.append(np.abs(excess).max())
    np.testing.assert_allclose(found.weights, w, rtol=1e-4)
    np.testing.assert_allclose(found.gap, gaps, rtol=1e-4)
    np.testing.assert_allclose(found.reward, features @ w - (features @ w).mean(), atol=1e-5)
    policy, occupancy = led_to(w)
    np.testing.assert_allclose(found.policy, policy, atol=1e-5)
    np.testing.assert_allclose(found.occupancy, occupancy, atol=1e-5)


def test_demonstrations_are_walks_under_the_policy():
    """A policy that goes up first, then right: of each walk the states are 5, 3, 0."""
    process, policy = small(), np.zeros((3, 8, 4), np.float32)
    up = next(a for a in range(4) if process.successor[5, a, 0] == 3)
    policy[..., up] = 1
    shown = inverse.demonstrate(process, policy, jax.random.key(0), 2)
    np.testing.assert_array_equal(shown.states, [[5, 3, 0]] * 2)
    np.testing.assert_array_equal(shown.actions, [[up] * 3] * 2)
    assert shown.num_states == 8


@pytest.mark.slow
@pytest.mark.covers("RL-09")
def test_numbers_of_a_grid_are_those_of_each_explanation():
    numbers, maps = study.trial(3, 2, 6, 4, 5, 0)
    grid, features, reward = study.world(3, 2, 0)
    expert = study.inverse.soft_policy(grid.mdp, reward, 4)
    shown = study.inverse.demonstrate(grid.mdp, expert, jax.random.key(0), 6)
    exact = study.mdp.state_distributions(grid.mdp, expert, 4).sum(0)
    for name, words in (("features", {"features": features}), ("cells", {"l2": 0.02})):
        found = study.inverse.explain(grid.mdp, shown, steps=5, **words)
        moved = study.total_variation(found.occupancy, exact)
        assert numbers[f"total variation, {name}"] == pytest.approx(moved, rel=1e-4)
        assert numbers[f"tau, {name}"] == pytest.approx(study.kendall_tau(found.reward, reward), rel=1e-4)
        assert found.occupancy.sum() == pytest.approx(4, rel=1e-4)
    assert numbers["total variation, features"] != pytest.approx(numbers["total variation, cells"], rel=1e-3)
    np.testing.assert_array_equal(maps["true reward"], study.gridworld.on_grid(grid, reward))
