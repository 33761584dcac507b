"""Q-learning with a table: one update by hand, ends and cut-offs, and the way to the best values."""

import jax
import numpy as np
import pytest

from dlcore.data.source import Source
from dlcore.rl import dynamic_programming, gridworld, mdp, q_learning
from experiments.rl import q_learning as page
from tests.rl.corridors import constant_reward


def trained(environment, updates, instances=8, seed=0, **settings):
    learner = q_learning.learner(environment=environment, **settings)
    batch = Source.indices(instances)[np.arange(instances)]
    state = jax.jit(learner.init)(jax.random.key(seed), batch)
    update = jax.jit(learner.update)
    for _ in range(updates):
        state, metrics = update(state, batch)
    return jax.device_get(state), metrics


@pytest.mark.slow
@pytest.mark.covers("RL-04")
def test_one_update_by_hand():
    # States 0 -> 1 -> end; the moves pay 3 and 5. Four instances start in state 0 and share the table, whose cells are
    # q0 and q1 at first. First step: n = m = 4, so Q(0) becomes the mean target, 3 + q1 / 2. Second: Q(1) becomes 5.
    # Third, from state 0 again: n = 8, m = 4; Q(0) moves by 4 / 8^(2/3) = 1, so to the target 3 + 5 / 2.
    chain = mdp.make(
        [[[1]], [[2]], [[2]]], np.ones((3, 1, 1)), [[[3]], [[5]], [[0]]], gamma=0.5, absorbing=[2], start=[1, 0, 0]
    )
    learner = q_learning.learner(
        environment=mdp.as_environment(chain, 10), num_steps=1, gamma=0.5, step_power=2 / 3, initial_std=1.0
    )
    batch, tables = Source.indices(4)[np.arange(4)], []
    state = jax.jit(learner.init)(jax.random.key(0), batch)
    first, update = state.params, jax.jit(learner.update)
    for _ in range(3):
        state, _ = update(state, batch)
        tables.append(state.params)
    assert first[1, 0] != 0
    np.testing.assert_allclose(tables[0][:, 0], [3 + first[1, 0] / 2, first[1, 0], first[2, 0]], rtol=1e-5)
    np.testing.assert_allclose(tables[1][:2, 0], [tables[0][0, 0], 5], rtol=1e-5)
    np.testing.assert_allclose(tables[2][:2, 0], [5.5, 5], rtol=1e-5)


@pytest.mark.covers("RL-04")
def test_steps_of_one_over_the_visits_average_the_targets():
    # One instance in one state that ends, and pays 1 with probability 1/4: with p = 1 the value is the average reward.
    coin = mdp.make([[[1, 1]], [[1, 1]]], [[[0.25, 0.75]]] * 2, [1.0, 0.0], gamma=0.9, absorbing=[1])
    state, metrics = trained(mdp.as_environment(coin, 10), 1, 1, num_steps=200, step_power=1.0, initial_std=5.0)
    assert (state.visits[0, 0], state.step) == (200, 1)
    assert float(metrics["return"].count) == 200
    np.testing.assert_allclose(state.params[0, 0], float(metrics["return"].total) / 200, rtol=1e-4)
    # The value of the end, which no step changes, is the noise that it started as.
    noise = jax.random.normal(jax.random.fold_in(jax.random.key(0), 1), (2, 1))
    np.testing.assert_allclose(state.params[1], 5 * noise[1], rtol=1e-6)


@pytest.mark.covers("RL-04")
def test_the_error_is_measured_without_its_sign():
    """In both instances -3 comes where 0 is expected, so that the value is -3.

    An episode that time ends keeps the value of its state: then -3 - 3 / 2 comes where -3 is expected. The two errors
    of -3 / 2 are divided by four visits.
    """
    settings = {"num_steps": 2, "gamma": 0.5, "epsilon": 0.0, "step_power": 1.0, "initial_std": 0.0}
    state, metrics = trained(constant_reward(False, reward=-3.0)._replace(num_actions=1), 1, 2, **settings)
    assert metrics["td_error"].compute() == (3 + 1.5) / 2
    assert state.params.tolist() == [[-3 - 3 / 4]]


@pytest.mark.weekly
@pytest.mark.covers("RL-04")
def test_an_end_is_worth_nothing_and_a_cut_off_what_follows():
    # A reward of 2 for ever, cut off after 3 steps, is worth 2 / (1 - 0.8) = 10; one that ends is worth 2.
    settings = {"num_steps": 400, "gamma": 0.8, "step_power": 0.6}
    endless, _ = trained(constant_reward(False, reward=2.0, every=3), 2, **settings)
    np.testing.assert_allclose(endless.params, 10, atol=0.05)
    # State 0 pays nothing and leads to state 1, which stays and pays 2: worth 8 and 10, whatever the next start is.
    uneven = mdp.make([[[1]], [[1]]], np.ones((2, 1, 1)), [[[0]], [[2]]], gamma=0.8, start=[1, 0])
    started, _ = trained(mdp.as_environment(uneven, 3), 2, **settings)
    np.testing.assert_allclose(started.params[:, 0], [8, 10], atol=0.05)
    ending, _ = trained(constant_reward(True, reward=2.0), 2, **settings)
    np.testing.assert_allclose(ending.params[0], 2, atol=1e-5)


@pytest.mark.weekly
@pytest.mark.covers("RL-04")
def test_the_table_reaches_the_best_values_of_a_slippery_grid():
    grid = gridworld.make(gridworld.MAPS["pit"], gamma=0.9, slip=0.1, step_reward=-0.02)
    best = dynamic_programming.action_values(grid.mdp, dynamic_programming.value_iteration(grid.mdp).values)
    free = ~grid.mdp.absorbing
    errors = []
    for updates in (1, 20):
        state, _ = trained(gridworld.environment(grid, 30), updates, 32, num_steps=200, epsilon=0.8, step_power=0.8)
        errors.append(np.abs(state.params - best)[free].max())
    assert errors[1] <= 0.05 < errors[0], "after 128,000 steps and after 6,400"
    greedy = np.asarray(best).argmax(1)[free]
    np.testing.assert_array_equal(state.params.argmax(1)[free], greedy)


def test_the_pages_error_is_the_largest_of_free_cells():
    grid = gridworld.make("..G", gamma=0.5)
    best = page.best_values(grid)
    np.testing.assert_allclose(best[:2, 1], [0.5, 1])
    tables = np.stack([best, best])
    tables[1, 0, 2] += 0.25
    tables[:, 2] = 7.0  # an end, whose values nothing reads
    evaluator = page.q_error(grid, 2)
    found = evaluator.finish(evaluator.add(tables, None, None))
    assert found == pytest.approx({"q_error": 0.125, "q_error/seed0": 0, "q_error/seed1": 0.25})
    assert set(evaluator.names) == set(found)
    assert page.q_error(grid, 1).finish(tables[1]) == pytest.approx({"q_error": 0.25})


def test_environments_without_a_finite_table_are_refused():
    grid = gridworld.make("..G")
    with pytest.raises(ValueError, match=r"environment='gridworld': observations of shape \[2\] that number no state"):
        q_learning.learner(environment=gridworld.environment(grid, observation="coordinates"))
    q_learning.learner(environment=gridworld.environment(grid), gamma=1.0)
