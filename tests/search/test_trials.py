"""Which trials share a step, which run alone, what each of them is given, and how they are scored."""

import math
from concurrent.futures import BrokenExecutor
from pathlib import Path
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.data.source import Source
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import FlagError
from dlcore.experiment.splits import Splits
from dlcore.run.fit import Saving
from dlcore.run.result import Result
from dlcore.search import trials as module
from dlcore.search.trial_folder import OtherTraining
from dlcore.search.trials import (
    OffsetPipeline,
    Trial,
    experiment_of,
    measure_ensemble,
    retrain,
    run_of,
    run_together,
    run_trials,
    summary,
    trial_of,
)

PAGE = "experiments.classification.supervised"
FLAGS = ["--model=mlp", "--model.hidden=16", "--augment=none", "--batch_size=64", "--steps=20", "--ema=none"]
RATES = [{"rate": 0.1}, {"rate": 0.2}]


def row(step, split="valid", **metrics):
    return {"step": step, "split": split, **metrics}


def test_a_trials_values_replace_the_shared_flags_to_the_last_digit():
    values = {"learning_rate": 0.1 + 0.2, "optimizer": "sgd", "batch_size": 8}
    flags = run_of(experiment_of(PAGE), [*FLAGS, "--learning_rate=7", "--seed=3"], values).flags
    assert {name: flags[name] for name in values} == values  # 0.30000000000000004
    assert flags.seed == 3
    assert "learning_rate" in flags.given


def test_a_summary_names_each_value_to_four_digits():
    assert (
        summary({"rate": 0.123456, "steps": 123456, "optimizer": "sgd"}) == "rate=0.1235, steps=123456, optimizer=sgd"
    )


def test_a_later_pipeline_gives_later_batches():
    class Steps:
        settings = {"batch_size": 2}

        def batch_at(self, step):
            return step

    later = OffsetPipeline(Steps(), 5)
    assert (later.batch_at(0), later.batch_at(2)) == (5, 7)
    assert later.settings == {"batch_size": 2, "offset": 5}


def test_a_module_outside_the_checkout_is_explained():
    with pytest.raises(ValueError, match=r"allowed: a module with an experiment$"):
        experiment_of("dlcore.learner")
    with pytest.raises(ValueError, match=r"'experiments.*; allowed: a module with an experiment"):
        experiment_of("experiments.nowhere.nothing")


def test_a_trial_is_scored_by_its_best_validation_and_by_its_step():
    values, steps, scores = {"rate": 0.1}, [5, 10, 15, 20], [0.5, np.nan, 0.25, 0.25]
    assert trial_of(values, steps, scores, "max")[:3] == (values, 0.5, 5)
    best = trial_of(values, steps, np.array(scores), "min")
    assert best[:3] == (values, 0.25, 15), "the first of equal ones"
    assert best.curve[0] == steps
    np.testing.assert_array_equal(best.curve[1], scores)
    assert (best.dropped, best.error) == (0, "")
    none = trial_of(values, [5], [np.inf], "max")
    assert math.isnan(none.score)
    assert (none.step, none.curve) == (0, ([5], [np.inf]))


@pytest.fixture
def searched(monkeypatch):
    """Run trials on fakes: `together` and `alone` give their histories; return (the trials, what was asked)."""

    def call(trials, *, together=None, alone=None, shares=True, claimed=(), metric="score", **options):
        asked = {"together": [], "alone": [], "loaded": 0, "checked": []}

        class Folder:
            def __init__(self, path, run, rows=()):
                self.path, self.rows = path, rows

            def check(self):
                asked["checked"].append((self.path.name, self.rows))
                if self.path.name in claimed:
                    raise OtherTraining(f"{self.path.name} holds another training")

        def load(run):
            asked["loaded"] += 1
            return f"data of {run}"

        def run_together(run, data, rows, folder):
            asked["together"].append((run, data, rows, folder.name))
            return SimpleNamespace(history=together(rows))

        def train_alone(page, argv, values, folder):
            asked["alone"].append((page, argv, values, folder.name))
            return alone(values)

        monkeypatch.setattr(module, "experiment_of", lambda page: page)
        monkeypatch.setattr(module, "run_of", lambda page, argv, values: f"run of {values}")
        monkeypatch.setattr(module, "TrialFolder", Folder)
        monkeypatch.setattr(module, "load_data", load)
        monkeypatch.setattr(module, "can_share", lambda run, data, names: shares and names == ["rate"])
        monkeypatch.setattr(module, "run_together", run_together)
        monkeypatch.setattr(module, "_train_alone", train_alone)
        found = run_trials("page", ["--seed=1"], trials, Path("out"), metric=metric, **options)
        return found, SimpleNamespace(**asked)

    return call


def scored(rows):
    """Scores of two validations, 10 and 20 times the rate, beside a training line."""
    lines = [row(step, **{f"score/{i}": step * one["rate"] for i, one in enumerate(rows)}) for step in (10, 20)]
    return [row(10, "train", loss=1.0), *lines]


def test_trials_that_differ_in_numbers_share_a_step_and_each_has_its_own_scores(searched):
    """20 * 0.1 = 2 and 20 * 0.2 = 4 at step 20; with "min" 1 and 2 at step 10."""
    found, asked = searched(RATES, together=scored, data="given")
    assert [(t.values, t.score, t.step) for t in found] == [(RATES[0], 2.0, 20), (RATES[1], 4.0, 20)]
    assert [t.curve for t in found] == [([10, 20], [1.0, 2.0]), ([10, 20], [2.0, 4.0])]
    assert asked.together == [("run of {'rate': 0.1}", "given", RATES, "group0")]
    assert (asked.alone, asked.loaded) == ([], 0)
    found, _ = searched(RATES, together=scored, monitor_mode="min")
    assert [(t.score, t.step) for t in found] == [(1.0, 10), (2.0, 10)]


def test_trials_are_grouped_by_what_is_no_number_and_stay_in_order(searched):
    trials = [{"rate": r, "kind": k} for r, k in ((0.1, "a"), (0.2, "b"), (0.3, "a"), (0.4, "c"))]

    def alone(values):
        return [row(7, score=10 * values["rate"])], ""

    found, asked = searched(trials, together=scored, alone=alone, data="given")
    assert [t.score for t in found] == pytest.approx([2, 2, 6, 4])
    # Of another `kind` than the shared flags the data may be others.
    assert asked.together == [
        (f"run of {trials[0]}", f"data of run of {trials[0]}", [{"rate": 0.1}, {"rate": 0.3}], "group0")
    ]
    assert asked.alone == [
        ("page", ["--seed=1"], trials[1], "trial1"),
        ("page", ["--seed=1"], trials[3], "trial3"),
    ]
    assert asked.checked[:4] == [(f"trial{i}", ()) for i in range(4)]
    assert asked.checked[4:] == [
        ("group0", [{"rate": 0.1}, {"rate": 0.3}]),
        ("group1", [{"rate": 0.2}]),
        ("group2", [{"rate": 0.4}]),
    ]


def alone_scores(values):
    return [row(3, "train", score=9.0), row(3, score=values["rate"]), row(6, score=None)], ""


@pytest.mark.parametrize("words", [{"share": False}, {"shares": False}])
def test_trials_that_cannot_share_run_alone(searched, words):
    found, asked = searched(RATES, alone=alone_scores, **words)
    assert [(t.score, t.step, t.error) for t in found] == [(0.1, 3, ""), (0.2, 3, "")]
    np.testing.assert_array_equal(found[0].curve[1], [0.1, np.nan])
    assert asked.together == []
    assert [one[2:] for one in asked.alone] == [(RATES[0], "trial0"), (RATES[1], "trial1")]


def test_whole_numbers_and_single_trials_run_alone(searched):
    for trials in ([{"rate": 1}, {"rate": 0.5}], [{"rate": 0.5}]):
        found, asked = searched(trials, alone=alone_scores)
        assert asked.together == []
        assert [t.score for t in found] == [t["rate"] for t in trials]


def test_a_shared_step_that_fails_is_said_and_its_trials_run_alone(searched, capsys):
    def fail(rows):
        raise ValueError("no memory\nmore lines")

    found, asked = searched(RATES, together=fail, alone=alone_scores)
    assert [t.score for t in found] == [0.1, 0.2]
    assert len(asked.alone) == 2
    assert "2 trials in one step failed, and run alone: no memory\n" in capsys.readouterr().out

    def refuse(rows):
        raise OtherTraining("another search")

    with pytest.raises(OtherTraining, match="another search"):
        searched(RATES, together=refuse, alone=alone_scores)


@pytest.mark.parametrize("folder", ["trial1", "group0"])
def test_a_folder_of_another_search_is_refused_before_anything_runs(searched, folder):
    with pytest.raises(FlagError, match=f"{folder} holds another training"):
        searched(RATES, claimed=[folder])


def test_a_trial_without_the_metric_or_with_an_error_has_no_score_and_says_why(searched):
    def alone(values):
        return ([row(3, loss=1.0)], "") if values["rate"] == 0.1 else ([], "out of memory")

    found, _ = searched(RATES, alone=alone, share=False)
    assert all(math.isnan(t.score) for t in found)
    assert found[0].error == "metric='score': no validation metric; allowed: loss"
    assert found[1].error == "out of memory"


@pytest.mark.parametrize("fact", ["step", "split", "epoch"])
def test_the_place_of_a_row_is_no_metric(searched, fact):
    def alone(values):
        return [row(3, epoch=0.5, loss=1.0, accuracy=0.9)], ""

    (found,), _ = searched(RATES[:1], alone=alone, metric=fact)
    assert found.error == f"metric={fact!r}: no validation metric; allowed: loss, accuracy"
    assert math.isnan(found.score)


def test_processes_run_the_trials_and_a_killed_one_is_an_error_of_its_trial(searched, monkeypatch):
    started = []

    class Future:
        def __init__(self, work):
            self.work = work

        def result(self):
            history, error = self.work()
            if error == "killed":
                raise BrokenExecutor
            return history, error

    class Pool:
        def __init__(self, processes, mp_context):
            started.append((processes, mp_context.get_start_method()))

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def submit(self, work, *args):
            return Future(lambda: work(*args))

    def alone(values):
        return ([row(3, score=0.5)], "") if values["rate"] == 0.2 else ([], "killed")

    monkeypatch.setattr(module, "ProcessPoolExecutor", Pool)
    found, asked = searched(RATES, alone=alone, share=False, processes=2)
    assert started == [(2, "spawn")]
    assert [t.error for t in found] == ["its process was killed; the same command tries again", ""]
    assert found[1].score == 0.5
    assert [one[3] for one in asked.alone] == ["trial0", "trial1"]
    searched(RATES[:1], alone=alone_scores, processes=2)
    assert len(started) == 1, "one trial needs no process of its own"


class Part:
    """A run of a page of one setting, `rate`, whose parts name what they were made from."""

    def __init__(self, rate=0.5, start=lambda setup: None):
        def evaluators(setup, data, split):
            return [f"evaluator of {split}"]

        def build(setup):
            return f"learner of {setup.flags.rate}"

        task = SimpleNamespace(start=start, evaluators=evaluators)
        self.experiment = SimpleNamespace(build=build, task=task)
        self.flags = Flags(
            {
                "rate": rate,
                "smoke": False,
                "checkpoint_seconds": 3,
                "checkpoint_steps": 4,
                "grace_seconds": 5.0,
                "eval_batch_size": 9,
            }
        )

    def setup_of(self, data):
        return Setup(self.flags, 20)

    def pipelines(self, data):
        return ("pipeline", data)

    def placement(self):
        return "placement"


class Setup(SimpleNamespace):
    """A setup that can be replaced as the record can."""

    def __init__(self, flags, steps):
        super().__init__(flags=flags, steps=steps)

    def _replace(self, flags):
        return Setup(flags, self.steps)


@pytest.fixture
def fitted(monkeypatch):
    """Replace `fit` and what it is given by records of their arguments."""
    calls = []

    class Folder:
        def __init__(self, path, run, rows=(), facts=None):
            self.run, self.entry = run, (path, rows, facts)

        def claim(self):
            calls.append(self.entry)
            return self.entry[0]

    def fit(learner, pipeline, **arguments):
        calls.append((learner, pipeline, arguments))
        return Result(f"state of {learner}", arguments["steps"], [row(1)])

    def fit_arguments(run, setup, data):
        return {"steps": setup.steps, "evaluators": ["one"], "hooks": ["hook"], "learning_rate": 1.0, "data": data}

    monkeypatch.setattr(module, "TrialFolder", Folder)
    monkeypatch.setattr(module, "fit", fit)
    monkeypatch.setattr(module, "fit_arguments", fit_arguments)
    monkeypatch.setattr(module, "together", lambda build, values: (build, values))
    monkeypatch.setattr(module, "evaluator_of_trials", lambda evaluator, count: (evaluator, count))
    monkeypatch.setattr(module, "start_of_trials", lambda starts: ("starts", starts))
    return calls


def test_a_shared_run_builds_each_trial_from_its_values_and_has_no_single_rate(fitted):
    run_together(Part(), "data", RATES, Path("g"))
    claim, ((build, values), pipeline, arguments) = fitted
    assert claim == (Path("g"), RATES, {})
    assert values == {"rate": [0.1, 0.2]}
    assert build({"rate": 0.3}) == "learner of 0.3"
    assert pipeline == ("pipeline", "data")
    assert {name: arguments[name] for name in ("steps", "evaluators", "hooks", "learning_rate", "start", "data")} == {
        "steps": 20,
        "evaluators": [("one", 2)],
        "hooks": (),
        "learning_rate": None,
        "start": None,
        "data": "data",
    }
    assert (arguments["folder"], arguments["progress"]) == (Path("g"), False)
    assert arguments["saving"] == Saving(seconds=3, steps=4, keep_last=1, grace_seconds=5.0)


def test_a_part_of_a_shared_run_begins_later_and_is_known_by_its_place(fitted):
    run_together(Part(), "data", RATES, Path("g"), steps=5, offset=10, hooks=["mine"], facts={"a": 1}, start="mine")
    claim, (_, pipeline, arguments) = fitted
    assert claim[2] == {"offset": 10, "part_steps": 5, "a": 1}
    assert (pipeline.pipeline, pipeline.offset) == (("pipeline", "data"), 10)
    assert (arguments["steps"], arguments["hooks"], arguments["start"]) == (5, ["mine"], "mine")


def test_each_shared_trial_starts_by_its_own_values(fitted):
    run_together(Part(start=lambda setup: ("start of", setup.flags.rate)), "data", RATES, Path("g"))
    name, starts = fitted[1][2]["start"]
    assert name == "starts"
    assert [(words, rate.dtype) for words, rate in starts] == [("start of", jnp.float32)] * 2
    np.testing.assert_allclose([rate for _, rate in starts], [0.1, 0.2])


@pytest.mark.parametrize(
    ("error", "history_error", "said"),
    [
        (FloatingPointError("loss is nan\nat step 3"), "", "rate=0.3: loss is nan\n"),
        (ValueError("bad\nvalue"), "bad", "rate=0.3: failed: bad\n"),
        (OSError("gone"), "gone", "rate=0.3: failed: gone\n"),
        (KeyError("x"), "KeyError: 'x'", "rate=0.3: failed: KeyError: 'x'\n"),
        (ValueError(""), "ValueError: ", "rate=0.3: failed: ValueError: \n"),
    ],
)
def test_a_trial_alone_says_how_it_failed(monkeypatch, capsys, error, history_error, said):
    """A loss that is not finite is no failure: the trial has no score."""

    def fail(*args):
        raise error

    monkeypatch.setattr(module, "experiment_of", fail)
    assert module._train_alone("page", [], {"rate": 0.3}, Path("t")) == ([], history_error)
    assert capsys.readouterr().out == said


def test_a_trial_alone_is_trained_as_a_run_of_its_values(fitted, monkeypatch):
    asked = []
    monkeypatch.setattr(module, "experiment_of", lambda page: page)
    monkeypatch.setattr(module, "run_of", lambda page, argv, values: asked.append((page, argv, values)) or Part(0.3))
    monkeypatch.setattr(module, "prepare_process", lambda flags: asked.append(flags.rate))
    monkeypatch.setattr(module, "load_data", lambda run: "data")
    history = module._train_alone("page", ["--seed=1"], {"rate": 0.3}, Path("t"))
    assert history == ([row(1)], "")
    assert asked == [("page", ["--seed=1"], {"rate": 0.3}), 0.3]
    claim, (learner, pipeline, arguments) = fitted
    assert claim == (Path("t"), (), None)
    assert (learner, pipeline) == ("learner of 0.3", ("pipeline", "data"))
    assert (arguments["hooks"], arguments["learning_rate"]) == (["hook"], 1.0), "those of a training"


@pytest.fixture
def tested(fitted, monkeypatch):
    """Retrain on five training and three validation examples; tests are recorded."""
    tests = []

    def evaluate(*args, **words):
        tests.append((*args, words))
        return {"score": float(len(tests)), "details": {}}

    source = Source({"x": np.arange(10)})
    data = Splits(source.take(5), source.subset([5, 6, 7]), source.subset([8, 9]), {})
    monkeypatch.setattr(module, "experiment_of", lambda page: page)
    monkeypatch.setattr(module, "run_of", lambda page, argv, values: Part(**values))
    monkeypatch.setattr(module, "load_data", lambda run: data)
    monkeypatch.setattr(module, "evaluate", evaluate)
    monkeypatch.setattr(module, "ensemble", lambda learners, example: ("mean of", learners, example["x"].tolist()))
    return tests


def trial(rate, step):
    return Trial({"rate": rate}, 1.0, step, ([step], [1.0]))


def test_the_best_is_trained_on_both_splits_for_its_steps_and_tested_once(tested, fitted):
    assert retrain("page", [], trial(0.3, 15), Path("out")) == {"score": 1.0}
    claim, (learner, (_, joined), arguments) = fitted
    assert claim == (Path("out/retrained"), (), {"best_step": 15})
    np.testing.assert_array_equal(joined.train.arrays["x"], range(8))
    assert joined.valid is None
    assert arguments["data"] is joined
    assert (learner, arguments["steps"]) == ("learner of 0.3", 15)
    ((learner, state, test, words),) = tested
    assert (learner, state) == ("learner of 0.3", "state of learner of 0.3")
    np.testing.assert_array_equal(test.arrays["x"], [8, 9])
    assert words == {"batch_size": 9, "placement": "placement", "evaluators": ["evaluator of test"]}


def test_an_ensemble_is_tested_beside_its_best_member(tested, fitted):
    both, best = measure_ensemble("page", [], [trial(0.3, 15), trial(0.1, 10)], Path("out"))
    assert (both, best) == ({"score": 1.0}, {"score": 2.0})
    assert [call[0] for call in fitted[::2]] == [Path("out/member0"), Path("out/member1")]
    assert [call[2]["steps"] for call in fitted[1::2]] == [15, 10]
    learners = ("learner of 0.3", "learner of 0.1")
    states = tuple(f"state of {learner}" for learner in learners)
    assert [call[:2] for call in tested] == [
        (("mean of", learners, [8]), states),
        (("mean of", learners[:1], [8]), states[:1]),
    ]
