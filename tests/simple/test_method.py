"""The simple methods beside the ledger: each names rows that exist, by their measure, and has a value."""

import pathlib

import pytest

from experiments import ledger
from experiments.simple.method import all_methods

ROWS = {row["id"]: row for row in ledger.read(pathlib.Path(ledger.__file__).with_name("results.jsonl"))}


def test_each_method_stands_beside_rows_of_its_measure():
    wrong = [
        f"{method.key}: {name}"
        for method in all_methods().values()
        for name in method.rows
        if name not in ROWS or ROWS[name]["metric"] != method.metric
    ]
    assert not wrong


def test_each_method_has_a_value_that_was_measured_as_it_stands():
    values = ledger.read_simple()
    assert values.keys() == all_methods().keys()
    for key, method in all_methods().items():
        assert tuple(values[key]["rows"]) == method.rows, key
        assert [int(seed) for seed in values[key]["values"]] == list(method.seeds), key
        about = (method.method, method.knows, method.is_control)
        assert (values[key]["method"], values[key]["knows"], values[key]["is_control"]) == about, key


def test_the_best_of_several_methods_is_chosen_by_its_direction():
    def value(key, mean, better):
        return {"key": key, "mean": mean, "better": better, "rows": ["a"], "is_control": False}

    assert ledger.best_simple({"x": value("x", 1.0, "higher"), "y": value("y", 2.0, "higher")})["a"]["key"] == "y"
    assert ledger.best_simple({"x": value("x", 1.0, "lower"), "y": value("y", 2.0, "lower")})["a"]["key"] == "x"


@pytest.mark.parametrize("key", ["digits-knn"])
def test_a_cheap_method_has_its_value_again(key):
    """Raw pixels of digits: 96.0 to 96.6 %, as scikit-learn's neighbors classify them."""
    assert all_methods()[key].measure(0) == pytest.approx(ledger.read_simple()[key]["values"]["0"], abs=0.005)


def test_a_page_whose_default_is_below_a_simple_method_says_so_in_its_first_line():
    """Of rows whose command is the page alone, and no other page says so; studies ask another question."""
    wrong = []
    for name, simple in ledger.best_simple(ledger.read_simple()).items():
        command = ROWS[name]["command"].split()
        page = command[2].removeprefix("experiments.")
        if len(command) == 3 and not page.startswith("studies."):
            sign = 1 if simple["better"] == "higher" else -1
            mean, value = (float(f"{number:.3g}") for number in (ROWS[name]["mean"], simple["mean"]))
            path = pathlib.Path(ledger.__file__).parent / f"{page.replace('.', '/')}.py"
            first = path.read_text(encoding="utf-8").split("\n")[0]
            if ("; here below " in first) != (sign * mean < sign * value):
                wrong.append(f"{page}: {mean} beside {value}, {first}")
    assert not wrong, "\n".join(wrong)
