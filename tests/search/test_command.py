"""The command of a search around its parts: what is refused, what the trials get, and what is said of them."""

import json
import math
from types import SimpleNamespace

import pytest

from dlcore.data.source import Source
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import FlagError
from dlcore.experiment.splits import Splits
from dlcore.search import __main__ as module
from dlcore.search.methods import Outcome, Search
from dlcore.search.space import Choice, LogUniform
from dlcore.search.trials import Trial

SPACE = {"rate": LogUniform(1e-4, 1.0), "kind": Choice(("a", "b"))}
DATA = Splits(Source.indices(7), Source.indices(5), Source.indices(3), {})


def trial(score, rate=0.01, kind="a", step=1234, error=""):
    return Trial({"rate": rate, "kind": kind}, score, step, ([step], [score]), 0, error)


@pytest.fixture
def ended(monkeypatch, tmp_path):
    """End a search of these trials; return what the report gets, and what was retrained."""

    def call(trials, remarks=(), retrain=False, ensemble=1, mode="max"):
        asked = {"report": None, "retrained": [], "ensembles": []}

        def report(*args):
            asked["report"] = args
            return "a page"

        def measure(page, argv, best, folder):
            asked["ensembles"].append((page, argv, [t.score for t in best], folder))
            return {"accuracy": 0.75, "a/b": 1.0, "none": None}, {"accuracy": 0.5, "a/b": 1.0}

        def again(page, argv, best, folder):
            asked["retrained"].append((page, argv, best.score, folder))
            return {"accuracy": 0.625, "a/b": 1.0, "none": None}

        monkeypatch.setattr(module, "search_report", report)
        monkeypatch.setattr(module, "measure_ensemble", measure)
        monkeypatch.setattr(module, "retrain", again)
        search = SimpleNamespace(
            metric="accuracy", folder=tmp_path, monitor_mode=mode,
            module="experiments.a.page", argv=["--seed=1", "--x"],
            base=SimpleNamespace(experiment=SimpleNamespace(name="a.page")),
            flags=SimpleNamespace(retrain=retrain, ensemble=ensemble, method="random"),
        )  # fmt: skip
        assert module._finish(search, Outcome(list(trials), SPACE, list(remarks))) == 0
        given, space, *names, said, cards, details = asked.pop("report")
        assert (given, space) == (trials, SPACE)
        return SimpleNamespace(**asked, said=said, cards=cards, details=details, names=names)

    return call


def test_the_best_trial_stands_on_the_cards_and_each_trial_in_a_file(ended, tmp_path, capsys):
    asked = ended([trial(0.25), trial(0.75, 0.0123456, "b", 50), trial(math.nan), trial(math.nan, error="no memory")])
    assert asked.cards == {
        "best valid accuracy": "0.7500", "trials": "4", "at step": "50", "rate": "0.0123", "kind": "b",
    }  # fmt: skip
    rows = [json.loads(line) for line in (tmp_path / "trials.jsonl").read_text().splitlines()]
    assert rows[1] == {"values": {"rate": 0.0123456, "kind": "b"}, "score": 0.75, "step": 50}
    assert [row["score"] for row in rows[2:]] == [None, None]
    assert "error" not in rows[2]
    assert rows[3]["error"] == "no memory"
    assert asked.said == ["1 of 4 trials were not finite.", "Trial 3 (rate=0.01, kind=a) failed: no memory"]
    assert asked.details == {
        "experiment": "experiments.a.page", "method": "random", "flags": "--seed=1 --x",
        "rate": str(SPACE["rate"]), "kind": str(SPACE["kind"]),
    }  # fmt: skip
    assert asked.names == ["accuracy", "max", "search of a.page"]
    assert (tmp_path / "report.html").read_text() == "a page"
    out = capsys.readouterr().out
    assert out.splitlines()[0].split() == ["rank", "trial", "accuracy", "step", "rate", "kind"]
    assert out.endswith(f"1 of 4 trials were not finite.\n{asked.said[1]}\nreport: {tmp_path / 'report.html'}\n")
    assert (asked.retrained, asked.ensembles) == ([], [])


def test_a_best_at_the_end_of_its_range_is_warned_of_after_the_remarks_of_the_method(ended):
    asked = ended([trial(0.25, 1e-4), trial(0.5, 0.1)], ["A remark."], mode="min")
    assert asked.said == ["A remark.", "rate: the best, 0.0001, is at the lower end of [0.0001, 1]: widen it."]
    assert asked.names[1] == "min"


def test_of_many_failures_five_are_named(ended):
    asked = ended([trial(0.5), *(trial(math.nan, error=f"error {i}") for i in range(5))])
    assert [said.rpartition(" ")[2] for said in asked.said] == list("01234")
    asked = ended([trial(0.5), *(trial(math.nan, error=f"error {i}") for i in range(7))])
    assert asked.said[5:] == ["2 more failed."]


def test_the_best_is_retrained_and_an_ensemble_of_the_finite_best_tested_where_asked(ended, tmp_path):
    trials = [trial(0.25), trial(math.nan), trial(0.75, step=50), trial(0.5)]
    asked = ended(trials, retrain=True, ensemble=2)
    assert asked.retrained == [("experiments.a.page", ["--seed=1", "--x"], 0.75, tmp_path)]
    assert asked.ensembles == [("experiments.a.page", ["--seed=1", "--x"], [0.75, 0.5], tmp_path)]
    assert asked.said[1:] == [
        "Retrained on training and validation data for 50 steps, tested once: accuracy 0.6250.",
        "Mean of the probabilities of the 2 best, retrained on training and validation data and tested once: accuracy "
        "0.7500 (the best alone 0.5000).",
    ]
    assert ended(trials, ensemble=9).ensembles[0][2] == [0.75, 0.5, 0.25]


def test_a_search_without_any_score_is_an_error_that_names_the_first_failure(ended, tmp_path):
    with pytest.raises(ValueError, match=r"^accuracy: no trial of 2 has a finite one; trial 1 failed: x; allowed: a s"):
        ended([trial(math.nan), trial(math.nan, error="x")])
    with pytest.raises(ValueError, match=r"^accuracy: no trial of 1 has a finite one; allowed: a space"):
        ended([trial(math.inf)])
    assert (tmp_path / "trials.jsonl").exists(), "what was measured is kept"


@pytest.fixture
def searched(monkeypatch, tmp_path):
    """Search a page of stand-ins without running its trials; return the fields of the search."""

    def call(*words, data=DATA, monitor="accuracy", can_share=True, classifier=True, **flags):
        task = SimpleNamespace(monitor=monitor)
        experiment = SimpleNamespace(name="a.page", task=task, build=lambda setup: "learner")
        given = frozenset(flags)
        values = {"rate": 0.1, "kind": "a", "runs": str(tmp_path), "smoke": False, **flags}
        made, asked = [], []

        def ensemble(learners, example):
            asked.append((learners, example["index"].tolist()))
            if not classifier:
                raise ValueError

        monkeypatch.setattr(module, "experiment_of", lambda page: experiment)
        monkeypatch.setattr(module, "resolve", lambda experiment, argv: Flags(values, given=given))
        monkeypatch.setattr(module, "prepare_process", lambda flags: None)
        monkeypatch.setattr(module, "ResolvedRun", lambda *args: SimpleNamespace(setup_of=lambda data: "setup"))
        monkeypatch.setattr(module, "load_data", lambda run: data)
        monkeypatch.setattr(module, "ensemble", ensemble)
        monkeypatch.setattr(module, "check_metric", lambda base, data, metric: can_share)
        monkeypatch.setattr(module, "monitor_mode_of", lambda *args: args[0::2])
        monkeypatch.setattr(Search, "run", lambda search: "outcome")
        monkeypatch.setattr(module, "_finish", lambda search, outcome: made.append(search) or outcome)
        assert module.search("experiments.a.page", words) == "outcome"
        (search,) = made
        return SimpleNamespace(**search._asdict(), asked=asked)

    return call


AXIS = "rate=log:1e-4:1"


def test_words_are_divided_among_the_space_the_search_and_the_page(searched, tmp_path):
    found = searched(AXIS, "--trials=4", "--noshare", "--steps=3", "kind=a,b")
    assert list(found.space) == ["rate", "kind"]
    assert (found.flags.trials, found.flags.share, found.argv) == (4, False, ["--steps=3"])
    assert (found.module, found.metric, found.share, found.data) == ("experiments.a.page", "accuracy", False, DATA)
    assert found.monitor_mode == ("accuracy", None)
    assert found.folder.parent == tmp_path / "search.a.page"
    assert found.folder.is_dir()
    assert len(found.folder.name) == 10
    again = searched("kind=a,b", "--steps=3", AXIS, "--noshare", "--trials=4")
    assert again.folder == found.folder, "the order of the words names no other search"
    assert searched(AXIS).folder != found.folder
    assert (searched(AXIS).share, searched(AXIS, can_share=False).share) == (True, False)
    own = searched(AXIS, f"--out={tmp_path / 'mine'}", "--metric=loss", "--better=min")
    assert (own.folder, own.metric, own.monitor_mode) == (tmp_path / "mine", "loss", ("loss", "min"))


@pytest.mark.parametrize(
    ("words", "options", "message"),
    [
        (["other=1,2"], {}, "other: unknown; allowed: the settings of --help of a.page"),
        ([AXIS], {"rate": 0.5}, "--rate=0.5: fixed, and an axis of the search; allowed: either"),
        ([AXIS], {"trials": 3}, "--trials: a flag of a.page and of the search; allowed: another name there"),
        ([AXIS], {"monitor": None}, "--metric: missing, and a.page names none; allowed: a validation metric"),
        ([AXIS, "--ensemble=2"], {"classifier": False}, "--ensemble: a.page is no classifier; allowed: without it"),
    ],
)
def test_searches_that_make_no_sense_are_refused(searched, words, options, message):
    with pytest.raises(FlagError) as caught:
        searched(*words, **options)
    assert str(caught.value) == message


def test_several_training_sources_are_searched_but_not_retrained(searched):
    several = DATA._replace(train={"a": DATA.train})
    assert searched(AXIS, data=several).data is several
    for word, name in (("--retrain", "retrain"), ("--ensemble=2", "ensemble")):
        with pytest.raises(FlagError, match=f"^--{name}: a.page has several training sources; allowed: without it$"):
            searched(AXIS, word, data=several)
    assert searched(AXIS, "--ensemble=2").asked == [(["learner"], [0])]
    assert searched(AXIS).asked == []


@pytest.mark.parametrize(
    ("error", "status"),
    [(FlagError("bad"), 2), (ValueError("bad"), 1), (OSError("bad"), 1), (FloatingPointError("bad"), 1)],
)
def test_errors_are_one_line_and_a_status(monkeypatch, capsys, error, status):
    def fail(*args):
        raise error

    monkeypatch.setattr(module, "use_program_cache", lambda: None)
    monkeypatch.setattr(module, "use_fast_cpu_convolutions", lambda: None)
    monkeypatch.setattr(module, "search", fail)
    assert module.main(["experiments.a.page"]) == status
    assert capsys.readouterr().err.endswith("error: bad\n")


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
