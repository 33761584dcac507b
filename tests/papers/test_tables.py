"""The papers' tables: each value belongs to a run, the page is the one that is rendered, and "met" is arithmetic."""

import math

import pytest

from experiments.papers import page
from experiments.papers.__main__ import README
from experiments.papers.table import Run, Table, all_tables


def table(**fields):
    words = dict.fromkeys(("key", "paper", "place", "source", "setting", "metric"), "text")
    return Table(**words, better="lower", **{"margin": 0.5, "runs": ()} | fields)


def test_each_value_belongs_to_a_run_and_is_finite():
    tables = all_tables()
    for (key, name), line in page.read_values().items():
        runs = {run.name: run for run in tables[key].runs}
        assert {int(seed) for seed in line["values"]} <= set(runs[name].seeds), (key, name)
        for numbers in line["values"].values():
            assert numbers.keys() == runs[name].numbers().keys(), (key, name)
            assert all(map(math.isfinite, numbers.values())), (key, name)


def test_the_page_is_the_one_that_is_rendered():
    assert README.read_text(encoding="utf-8") == page.render(all_tables(), page.read_values())


def test_names_of_runs_and_numbers_are_unique_in_a_table():
    for key, each in all_tables().items():
        runs = [run.name for run in each.runs]
        numbers = [name for run in each.runs for name in run.numbers()]
        assert len(set(runs)) == len(runs), key
        assert len(set(numbers)) == len(numbers), key


@pytest.mark.parametrize(
    ("published", "spread", "values", "expected"),
    [
        (10.0, None, [10.4], True),  # 0.4 within the margin 0.5
        (10.0, None, [10.6], False),
        (10.0, 0.4, [10.7], True),  # twice the spread, 0.8, is larger than the margin
        (10.0, 0.1, [10.4], True),  # and here smaller
        (10.0, None, [9.6, 11.6], True),  # mean 10.6, standard error 1: sqrt(0.25 + 4) = 2.06
        (10.0, None, [10.55, 10.65], False),  # mean 10.6, standard error 0.05: sqrt(0.25 + 0.01) = 0.51
    ],
)
def test_a_number_is_met_within_margin_spread_and_our_own_error(published, spread, values, expected):
    assert page.same(table(), published, spread, values) is expected


def test_a_run_of_one_number_has_its_name_and_others_have_a_spread_each():
    assert Run("error", float, 1.0, spread=0.1).numbers() == {"error": (1.0, 0.1)}
    two = Run("both", lambda seed: {}, {"a": 1.0, "b": 2.0}, spread={"b": 0.2})
    assert two.numbers() == {"a": (1.0, None), "b": (2.0, 0.2)}


def test_the_page_says_what_was_not_run():
    shown = page.render({"text": table(runs=(Run("MLP", float, 1.6),))}, {})
    assert "| MLP | 1.6 | not run | |" in shown
    assert shown.startswith("# Papers' tables")
    line = {"values": {"0": {"MLP": 1.5}, "1": {"MLP": 1.7}}, "seconds": {"0": 60.0, "1": 60.0}}
    shown = page.render({"text": table(runs=(Run("MLP", float, 1.6),))}, {("text", "MLP"): line})
    assert "| MLP | 1.6 | 1.6 ± 0.14 (2 seeds) | yes |" in shown
    assert "(2 min in all.)" in shown
