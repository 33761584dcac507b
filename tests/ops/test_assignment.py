"""The assignment solver against scipy's and all permutations; padding, too few rows, costs that are no number."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from dlcore.ops.assignment import assign

SOLVE = jax.jit(jax.vmap(assign))


def total(cost, rows):
    assert len(set(rows.tolist())) == len(rows)
    return cost[rows, np.arange(cost.shape[1])].sum()


@pytest.mark.covers("AT-32")
@pytest.mark.parametrize("kind", ["random", "equal_preferences", "ties", "negative"])
def test_it_equals_scipy(kind):
    """One batch of problems of 12 rows and 8 columns; the last columns of each are padding."""
    rng = np.random.default_rng(0)
    cost = rng.normal(size=(40, 12, 8)).astype(np.float32)
    if kind == "equal_preferences":  # all columns want the same rows in the same order: the longest paths
        cost = np.sort(rng.random((40, 12, 1)), 1) * (1 + rng.random((40, 1, 8)))
    elif kind == "ties":
        cost = rng.integers(0, 3, (40, 12, 8)).astype(np.float32)
    elif kind == "negative":
        cost = cost - 100
    cost = cost.astype(np.float32)
    counts = rng.integers(0, 9, 40)
    valid = np.arange(8) < counts[:, None]
    cost[~np.broadcast_to(valid[:, None], cost.shape)] = np.nan
    rows = np.asarray(SOLVE(cost, valid))
    for i, n in enumerate(counts):
        assert (rows[i, n:] == -1).all()
        best = cost[i][:, :n][linear_sum_assignment(cost[i][:, :n])].sum()
        assert total(cost[i][:, :n], rows[i, :n]) == pytest.approx(best, rel=1e-5, abs=1e-5)


@pytest.mark.slow
@pytest.mark.covers("AT-32")
def test_no_permutation_is_cheaper():
    cost = np.random.default_rng(1).random((4, 4)).astype(np.float32)
    rows = np.asarray(jax.jit(assign)(cost))
    best = min(itertools.permutations(range(4)), key=lambda p: total(cost, np.array(p)))
    np.testing.assert_array_equal(rows, best)
    # By hand: the first column would take row 0 at 1, but then the second pays 9; together 2 + 2 is less.
    np.testing.assert_array_equal(assign(jnp.array([[1.0, 2.0], [2.0, 9.0]])), [1, 0])


def test_with_fewer_rows_than_columns_the_dearest_are_left_out():
    rng = np.random.default_rng(2)
    cost = rng.normal(size=(20, 3, 6)).astype(np.float32)
    valid = np.arange(6) < rng.integers(0, 7, 20)[:, None]
    rows = np.asarray(SOLVE(cost, valid))
    for c, mask, row in zip(cost, valid, rows, strict=True):
        assert (row[~mask] == -1).all()
        chosen = np.flatnonzero(row >= 0)
        assert len(chosen) == min(3, mask.sum())
        assert len(set(row[chosen])) == len(chosen)
        best = c[:, mask][linear_sum_assignment(c[:, mask])].sum()
        assert c[row[chosen], chosen].sum() == pytest.approx(best, abs=1e-4)


@pytest.mark.slow
def test_costs_that_are_no_number_end_the_search_and_are_avoided():
    cost = jnp.array([[jnp.nan, 1.0, jnp.inf], [jnp.inf, 5.0, -jnp.inf], [3.0, jnp.nan, 2.0]])
    assert sorted(np.asarray(jax.jit(assign)(cost)).tolist()) == [0, 1, 2]
    np.testing.assert_array_equal(assign(jnp.array([[jnp.inf, 1.0], [2.0, 1.0]])), [1, 0])
    assert sorted(np.asarray(jax.jit(assign)(jnp.full((3, 3), jnp.nan))).tolist()) == [0, 1, 2]


@pytest.mark.slow
def test_no_gradient_goes_through_the_answer():
    def loss(cost):
        return cost[assign(cost), jnp.arange(2)].sum()

    cost = jnp.array([[1.0, 2.0], [2.0, 9.0], [7.0, 7.0]])
    np.testing.assert_array_equal(jax.grad(loss)(cost), [[0, 1], [1, 0], [0, 0]])


def test_costs_that_are_no_number_by_hand():
    """Rows 0 and 1 by choice: (2 + 2, not 1 + 9); an infinity, of either sign, and NaN cost more than any two numbers.

    Two costs of 30 are less than NaN and 0. Where all are NaN, each column has a row all the same.
    """
    other = [9.0, 9.0, 1.0]
    costs = [
        [[1, 2, 5], [2, 9, 5], other],
        [[np.inf, 1, 9], [2, 1, 9], other],
        [[-np.inf, 1, 9], [2, 1, 9], other],
        [[np.nan, 30, 30], [30, 0, 30], [30, 30, -30]],
        [[np.nan] * 3] * 3,
        [[3, 1, np.nan], [1, 3, np.nan], [0, 0, np.nan]],
    ]
    valid = np.ones((6, 3), bool)
    valid[5, 2] = False
    rows = np.asarray(SOLVE(np.float32(costs), valid)).tolist()
    assert rows[:4] == [[1, 0, 2]] * 4
    assert sorted(rows[4]) == [0, 1, 2]
    assert rows[5] in ([2, 0, -1], [1, 2, -1])
