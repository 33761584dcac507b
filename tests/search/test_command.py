"""The command of a search around its parts: its flags, and what is said of the trials at the end."""

import json
import math
from types import SimpleNamespace

import pytest

from dlcore.search import __main__ as module
from dlcore.search.methods import Outcome
from dlcore.search.space import Choice, LogUniform
from dlcore.search.trials import Trial
from dlcore.setting import FlagError

SPACE = {"rate": LogUniform(1e-4, 1.0), "kind": Choice(("a", "b"))}


def trial(score, rate=0.01, kind="a", step=1234, error=""):
    return Trial({"rate": rate, "kind": kind}, score, step, ([step], [score]), 0, error)


@pytest.fixture
def ended(tmp_path, capsys):
    """End a search of these trials; return what it prints, and its report."""

    def call(trials, remarks=(), mode="max"):
        search = SimpleNamespace(
            metric="accuracy", folder=tmp_path, monitor_mode=mode,
            module="experiments.a.page", argv=["--seed=1", "--x"],
            base=SimpleNamespace(experiment=SimpleNamespace(name="a.page")),
            flags=SimpleNamespace(retrain=False, ensemble=1, method="random"),
        )  # fmt: skip
        assert module._finish(search, Outcome(list(trials), SPACE, list(remarks))) == 0
        return capsys.readouterr().out, (tmp_path / "report.html").read_text()

    return call


def test_the_best_trial_stands_on_the_cards_and_each_trial_in_a_file(ended, tmp_path):
    trials = [trial(0.25), trial(0.75, 0.0123456, "b", 50), trial(math.nan), trial(math.nan, error="no memory")]
    out, html = ended(trials)
    for name, value in {
        "best valid accuracy": "0.7500",
        "trials": 4,
        "at step": 50,
        "rate": 0.0123,
        "kind": "b",
    }.items():
        assert f"<dt>{name}</dt><dd>{value}</dd>" in html
    rows = [json.loads(line) for line in (tmp_path / "trials.jsonl").read_text().splitlines()]
    assert rows[1] == {"values": {"rate": 0.0123456, "kind": "b"}, "score": 0.75, "step": 50}
    assert [row["score"] for row in rows[2:]] == [None, None]
    assert "error" not in rows[2]
    assert rows[3]["error"] == "no memory"
    assert "search of a.page" in html
    assert out.splitlines()[0].split() == ["rank", "trial", "accuracy", "step", "rate", "kind"]
    said = ["1 of 4 trials were not finite.", "Trial 3 (rate=0.01, kind=a) failed: no memory"]
    assert out.splitlines()[-3:] == [*said, f"report: {tmp_path / 'report.html'}"]


@pytest.mark.slow
def test_a_best_at_the_end_of_its_range_is_warned_of_and_five_failures_are_named(ended):
    trials = [trial(0.25, 1e-4), trial(0.5, 0.1), *(trial(math.nan, error=f"error {i}") for i in range(7))]
    out, _ = ended(trials, ["A remark."], mode="min")
    first, edge, *failures = out.splitlines()[-9:-1]
    assert (first, edge) == ("A remark.", "rate: the best, 0.0001, is at the lower end of [0.0001, 1]: widen it.")
    assert [line.rpartition(" ")[2] for line in failures[:5]] == list("01234")
    assert failures[5:] == ["2 more failed."]


def test_a_search_without_any_score_is_an_error_that_names_the_first_failure(ended, tmp_path):
    with pytest.raises(ValueError, match=r"^accuracy: no trial of 2 has a finite one; trial 1 failed: x; allowed: a s"):
        ended([trial(math.nan), trial(math.nan, error="x")])
    assert (tmp_path / "trials.jsonl").exists(), "what was measured is kept"


def test_help_lists_the_flags_of_a_search_and_no_words_are_an_error(capsys):
    assert [module.main(words) for words in ([], ["-h"], ["--help"])] == [2, 0, 0]
    assert capsys.readouterr().out.count("--reduction_factor  halving: reduction factor eta") == 3


def test_words_of_a_search_are_found_with_one_dash_and_in_the_negative():
    flags, axes, rest = module.split_arguments(["--noshare", "a=1,2", "--nosmoke", "--seed=3"])
    assert (flags.share, axes, rest) == (False, ["a=1,2"], ["--nosmoke", "--seed=3"])


def test_flags_of_a_search_have_the_documented_defaults_and_least_values():
    """By default sixteen random trials run; a grid has three points an axis; halving keeps a third of the trials."""
    assert {name: setting.default for name, setting in module.SETTINGS.items() if setting.default is not None} == {
        "method": "random", "trials": 16, "grid_points": 3, "search_seed": 0, "reduction_factor": 3, "processes": 1,
        "share": True, "retrain": False, "ensemble": 1,
    }  # fmt: skip
    ones = dict.fromkeys(("trials", "grid_points", "first", "exchange", "processes", "ensemble"), 1)
    for name, least in {**ones, "search_seed": 0, "reduction_factor": 2}.items():
        assert module.split_arguments([f"--{name}={least}"])[0][name] == least
        with pytest.raises(FlagError, match=f"--{name}={least - 1}: out of range; allowed: at least {least}"):
            module.split_arguments([f"--{name}={least - 1}"])
