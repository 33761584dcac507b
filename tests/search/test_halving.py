"""Rungs and brackets by the papers' tables, and that the best survive."""

from types import SimpleNamespace

import numpy as np
import pytest

from dlcore.search import methods
from dlcore.search.halving import Rung, hyperband_brackets, rungs, successive_halving
from dlcore.setting import FlagError


def test_rungs_keep_the_budget_of_each_equal():
    assert rungs(27, 1, 27, 3) == [(27, 1), (9, 3), (3, 9), (1, 27)]
    assert all(n * r == 27 for n, r in rungs(27, 1, 27, 3))
    assert rungs(16, 10, 45, 2) == [(16, 10), (8, 20), (4, 40)]
    assert rungs(2, 1, 100, 3) == [(2, 1)], "there is no third of two"


def test_the_brackets_of_hyperbands_table():
    """Table 1 of Li et al. 2018: R = 81, eta = 3."""
    table = hyperband_brackets(81, 3)
    assert table[0] == [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)]
    assert table[1] == [(34, 3), (11, 9), (3, 27), (1, 81)]
    assert table[2] == [(15, 9), (5, 27), (1, 81)]
    assert table[3] == [(8, 27), (2, 81)]
    assert table[4] == [(5, 81)]
    # From 10 steps to 100 two triplings fit: 100 / 9 = 11, 100 / 3 = 33 and 100 steps.
    assert hyperband_brackets(100, 3, 10) == [[(9, 11), (3, 33), (1, 99)], [(5, 33), (1, 99)], [(3, 100)]]
    assert hyperband_brackets(1, 2) == [[(1, 1)]]


def test_the_best_go_on_from_where_they_were():
    asked = []
    speed = np.array([0.1, 0.9, 0.5, 0.7, 0.2, np.nan, 0.3, 0.6])

    def advance(rows, before, after):
        asked.append((rows, before, after))
        return speed[rows] * after

    found = successive_halving([{}] * 8, rungs(8, 5, 20, 2), advance)
    assert asked == [(list(range(8)), 0, 5), ([1, 3, 7, 2], 5, 10), ([1, 3], 10, 20)]
    assert found["best"] == 1
    np.testing.assert_array_equal(found["steps"], [5, 20, 10, 20, 5, 5, 5, 10])
    np.testing.assert_allclose(found["scores"][[0, 1, 3]], [0.5, 18, 14])
    np.testing.assert_array_equal(found["dropped"], [2, 0, 1, 0, 2, 2, 2, 1])
    assert np.isnan(found["scores"][5])


def test_trials_without_a_score_end_the_halving_and_not_the_search():
    found = successive_halving([{}] * 2, [Rung(2, 1), Rung(1, 2)], lambda *_: np.full(2, np.nan))
    assert found["best"] is None
    assert found["rungs"] == [[0, 1]]
    assert np.isnan(found["scores"]).all()
    # row 1 leads after the first rung and is lost in the second: nobody is left for the third
    scores = {3: np.array([1.0, 5.0, 3.0]), 1: np.array([np.nan])}
    found = successive_halving([{}] * 3, [Rung(3, 1), Rung(1, 2), Rung(1, 4)], lambda rows, *_: scores[len(rows)])
    assert found["best"] is None
    np.testing.assert_array_equal(found["dropped"], [2, 1, 2])
    np.testing.assert_array_equal(found["steps"], [1, 2, 1])


def test_the_cost_of_brackets_is_in_steps():
    """9 * 3 + 3 * 6 + 1 * 18 = 63 of 9 * 27 = 243."""
    text = "63 steps in all; 9 trials to the end would have taken 243."
    assert methods._describe_cost([rungs(9, 3, 27, 3)]) == text


def test_the_first_rung_may_be_set_to_the_length_of_a_run():
    def first(value):
        return methods._first_rung(SimpleNamespace(flags=SimpleNamespace(first=value)), 27, 0)

    assert (first(None), first(9), first(27)) == (1, 9, 27)
    with pytest.raises(FlagError, match="--first=28: longer than a run; allowed: 1 to 27"):
        first(28)
