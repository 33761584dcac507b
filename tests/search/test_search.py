"""The command: trials in one step and alone, resumed, reported, retrained; and what bad words get."""

import dataclasses
import importlib
import json
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from dlcore.data.digits import digits
from dlcore.data.pipeline import Pipeline
from dlcore.data.source import Source, join
from dlcore.experiment.parts import Measure
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.learner import Evaluator
from dlcore.main import run
from dlcore.run import evaluate, fit
from dlcore.run.checkpoint import Checkpoints
from dlcore.run.fit import Saving
from dlcore.run.step import Placement, Program
from dlcore.search.__main__ import main, split_arguments
from dlcore.search.metric import monitor_mode_of
from dlcore.search.report import ranked
from dlcore.search.trial_folder import TrialFolder
from dlcore.search.trials import (
    OffsetPipeline,
    Trial,
    can_share,
    experiment_of,
    groups,
    measure_ensemble,
    retrain,
    run_trials,
)
from dlcore.setting import FlagError, Setting
from tests.overriding import with_run

PAGE = "experiments.classification.supervised"
FLAGS = [
    "--model=mlp",
    "--model.hidden=16",
    "--augment=none",
    "--batch_size=64",
    "--steps=20",
    "--eval_every=10",
    "--log_every=10",
    "--ema=none",
]


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    """Eight virtual devices would only make it slower."""
    monkeypatch.setattr(ResolvedRun, "placement", lambda resolved: single())


def single():
    from dlcore.run.sharding import make_mesh

    return Placement(make_mesh("data:1", jax.devices()[:1]))


def printed(capsys, *words, status=0):
    capsys.readouterr()
    assert main([PAGE, *words]) == status
    out, err = capsys.readouterr()
    return err if status else out


def rows(folder):
    return [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]


@pytest.mark.weekly
def test_trials_in_one_step_score_as_alone_and_are_not_trained_twice(tmp_path, capsys):
    trials = [{"learning_rate": rate} for rate in (1e-3, 1e-2, 1e-1)]
    options = {"metric": "loss", "monitor_mode": "min"}
    shared = run_trials(PAGE, FLAGS, trials, tmp_path / "shared", **options)
    assert "3 trials in one step" in capsys.readouterr().out
    alone = run_trials(PAGE, FLAGS, trials, tmp_path / "alone", share=False, **options)
    for a, b in zip(shared, alone, strict=True):
        assert a.values == b.values
        assert a.curve[0] == b.curve[0] == [10, 20]
        np.testing.assert_allclose(a.curve[1], b.curve[1], rtol=1e-4)
        assert (a.score, a.step) == (min(a.curve[1]), a.curve[0][int(np.argmin(a.curve[1]))])
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("metrics.jsonl")}
    again = run_trials(PAGE, FLAGS, trials, tmp_path / "shared", **options)
    assert [t.score for t in again] == [t.score for t in shared]
    assert before == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("metrics.jsonl")}


def folder_of(path, *words, rows=(), **facts):
    experiment = experiment_of(PAGE)
    return TrialFolder(path, ResolvedRun(experiment, resolve(experiment, [*FLAGS, *words])), rows, facts)


def test_a_folder_of_other_values_is_refused_and_names_what_differs(tmp_path):
    one = folder_of(tmp_path / "trial0", "--learning_rate=1e-6")
    one.check()
    assert one.claim() == one.claim() == tmp_path / "trial0"
    with pytest.raises(
        FlagError, match=r"trial0 holds another training: learning_rate=1e-06 there, 0\.01 here; allowed"
    ):
        folder_of(tmp_path / "trial0", "--learning_rate=1e-2").check()
    with pytest.raises(FlagError, match="seed=0 there, 1 here"):
        folder_of(tmp_path / "trial0", "--learning_rate=1e-6", "--seed=1").claim()
    with pytest.raises(FlagError, match="best_step=None there, 15 here"):
        folder_of(tmp_path / "trial0", "--learning_rate=1e-6", best_step=15).claim()
    folder_of(tmp_path / "trial0", "--learning_rate=1e-6", "--nodevice_data").claim()


def test_several_trials_are_compared_one_by_one(tmp_path):
    rates = [{"learning_rate": rate} for rate in (0.1, 0.2)]
    folder_of(tmp_path, rows=rates, exchange=2).claim()
    folder_of(tmp_path, "--learning_rate=0.5", rows=rates, exchange=2).check()  # the values replace that flag
    with pytest.raises(FlagError, match="holds another training: seed=0 there, 1 here; allowed"):
        folder_of(tmp_path, "--seed=1", rows=rates, exchange=2).check()
    with pytest.raises(FlagError, match=r"learning_rate\[1\]=0\.2 there, 0\.3 here"):
        folder_of(tmp_path, rows=[rates[0], {"learning_rate": 0.3}], exchange=2).check()
    with pytest.raises(FlagError, match=r"2 values of learning_rate there, 1 here"):
        folder_of(tmp_path, rows=rates[:1], exchange=2).check()
    with pytest.raises(FlagError, match=r"exchange=2 there, 3 here"):
        folder_of(tmp_path, rows=rates, exchange=3).check()
    four = {"rows": rates, "a": 1, "b": 2, "c": 3}
    with pytest.raises(FlagError, match=r"exchange=2 there, None here; a=None .*; b=.*; c=None there, 3 here; allowed"):
        folder_of(tmp_path, **four).check()
    with pytest.raises(FlagError, match=r"c=None there, 3 here and 2 more; allowed"):
        folder_of(tmp_path, **four, d=4, e=5).check()


@pytest.mark.parametrize("name", ["group0", "trial0", "retrained"])
def test_a_trained_folder_without_values_is_refused(tmp_path, name):
    (tmp_path / name / "checkpoints" / "20").mkdir(parents=True)
    trials = [{"learning_rate": rate} for rate in (1e-3, 1e-2)]
    works = {"retrained": folder_of(tmp_path / name).claim}
    work = works.get(name, lambda: run_trials(PAGE, FLAGS, trials, tmp_path, metric="loss"))
    with pytest.raises(FlagError, match=f"{name} holds another training: its settings are not stored; allowed: the"):
        work()


@pytest.mark.weekly
@pytest.mark.parametrize("share", ["--share", "--noshare"])
def test_another_space_in_the_same_folder_is_refused_before_training(tmp_path, capsys, share):
    words = ["--trials=2", share, *FLAGS, "--steps=2", "--eval_every=1", f"--out={tmp_path}"]
    printed(capsys, "learning_rate=log:1e-6:1e-5", *words)
    before = rows(tmp_path)
    assert "holds another training: learning_rate" in printed(capsys, "learning_rate=log:1e-2:1e-1", *words, status=2)
    assert rows(tmp_path) == before
    printed(capsys, "learning_rate=log:1e-6:1e-5", *words)
    assert rows(tmp_path) == before


def test_only_traced_settings_share_a_program():
    resolved = ResolvedRun(experiment_of(PAGE), resolve(experiment_of(PAGE), FLAGS))
    data = resolved.experiment.run(resolved.flags).load()
    assert can_share(resolved, data, ["learning_rate", "l2", "weight_decay", "label_smoothing"])
    assert not can_share(resolved, data, ["model.dropout"]), "a rate that Python looks at"
    assert not can_share(resolved, data, ["epochs"]), "nothing that the step uses"
    assert not can_share(resolved, data, ["learning_rate", "valid_fraction"])
    assert not can_share(resolved, data, [])
    for word in ("--patience=2", "--schedule=plateau"):  # their hooks expect one state
        page = experiment_of(PAGE)
        assert not can_share(ResolvedRun(page, resolve(page, [*FLAGS, word])), data, ["learning_rate"])
    trials = [{"a": 1.0, "b": "x"}, {"a": 2.0, "b": "y"}, {"a": 3.0, "b": "x"}]
    assert groups(trials, ["a"]) == [[0, 2], [1]]
    assert groups(trials, []) == [[0], [1], [2]]


@pytest.mark.weekly
@pytest.mark.covers("TR-16")
def test_the_command_ranks_warns_at_the_edge_and_reports(tmp_path, capsys):
    words = ["learning_rate=log:1e-6:1e-2", *FLAGS, "--metric=loss", f"--out={tmp_path}"]
    out = printed(capsys, *words, "--method=grid", "--grid_points=3")
    assert "learning_rate: the best, 0.01, is at the upper end of [1e-06, 0.01]" in out
    found = rows(tmp_path)
    assert [row["values"]["learning_rate"] for row in found] == pytest.approx([1e-6, 1e-4, 1e-2])
    scores = [row["score"] for row in found]
    assert scores == sorted(scores, reverse=True)
    report = (tmp_path / "report.html").read_text()
    assert report.count("<svg") == 2
    assert "at the upper end" in report


@pytest.mark.weekly
@pytest.mark.covers("TR-15")
def test_coarse_to_fine_narrows_the_interval(tmp_path, capsys):
    words = ["learning_rate=log:1e-6:10", *FLAGS, "--metric=loss", f"--out={tmp_path}", "--trials=12"]
    out = printed(capsys, *words, "--method=coarse_to_fine")
    assert "Narrowed after 6 trials" in out
    rates = np.log10([row["values"]["learning_rate"] for row in rows(tmp_path)])
    assert np.ptp(rates[6:]) < 0.6 * np.ptp(rates[:6])


@pytest.mark.weekly
def test_halving_and_a_population_from_the_command(tmp_path, capsys):
    words = ["learning_rate=log:1e-4:1", *FLAGS, "--metric=loss"]
    out = printed(capsys, *words, "--method=halving", "--trials=4", "--reduction_factor=2", f"--out={tmp_path / 'h'}")
    steps = [row["step"] for row in rows(tmp_path / "h")]
    assert sorted(steps) == [5, 5, 10, 20]
    lines = out.splitlines()
    first = lines[next(i for i, line in enumerate(lines) if line.startswith("rank ")) + 1].split()
    assert (first[0], first[3]) == ("1", "20"), "the survivor is the best"
    assert "Trials are ranked by the rung that they reached, then by their score there." in out
    assert "40 steps in all; 4 trials to the end would have taken 80." in out
    assert "1 of" not in printed(
        capsys, *words, "--method=pbt", "--trials=5", "--exchange=10", f"--out={tmp_path / 'p'}"
    )
    lineage = json.loads((tmp_path / "p" / "lineage.json").read_text())
    assert [entry["step"] for entry in lineage] == [10, 20]


@pytest.mark.weekly
def test_choices_run_alone_and_blown_up_trials_are_counted(tmp_path, capsys):
    words = ["optimizer=sgd,adamw", *FLAGS, "--steps=5", f"--out={tmp_path / 'a'}", "--method=grid"]
    assert "trial 1: optimizer=adamw" in printed(capsys, *words)
    words = ["learning_rate=0.01,0.1,1e30", *FLAGS, "--optimizer=sgd", f"--out={tmp_path / 'b'}", "--method=grid"]
    assert "1 of 3 trials were not finite." in printed(capsys, *words)
    assert [row["score"] is None for row in rows(tmp_path / "b")] == [False, False, True]


@pytest.mark.slow
def test_a_trial_that_fails_is_recorded_and_the_others_go_on(tmp_path, capsys):
    words = ["init_from=none,/nowhere", *FLAGS, "--steps=3", "--method=grid"]
    out = printed(capsys, *words, f"--out={tmp_path / 'a'}")
    assert "Trial 1 (init_from=/nowhere) failed: init_from='/nowhere': holds no trained network" in out
    assert "not finite" not in out
    good, bad = rows(tmp_path / "a")
    assert (good["score"] is None, bad["score"], "error" in good) == (False, None, False)
    assert bad["error"].startswith("init_from='/nowhere'")
    assert "holds no trained network" in (tmp_path / "a" / "report.html").read_text()
    words[0] = "init_from=/nowhere,/else"
    error = printed(capsys, *words, f"--out={tmp_path / 'b'}", status=1)
    assert "accuracy: no trial of 2 has a finite one; trial 0 failed: init_from='/nowhere'" in error
    assert len(rows(tmp_path / "b")) == 2


@pytest.mark.parametrize("share", ["--share", "--noshare"])
def test_a_search_starts_as_training_does(tmp_path, capsys, share):
    """From weights that are no weights, nothing is trained."""
    words = ["learning_rate=0.01,0.02", *FLAGS, "--init_from=/nowhere", f"--out={tmp_path}", share]
    assert "init_from='/nowhere': holds no trained network" in printed(capsys, *words, status=1)
    assert not list(tmp_path.rglob("metrics.jsonl"))


def share_of_zeros(setup, splits, split):
    """An evaluator: how often class 0 is predicted in the whole split."""

    def add(acc, outputs, rows):
        return [*(acc or []), outputs["logits"].argmax(-1) == 0]

    return [Evaluator(add, lambda acc: {"zeros": float(np.concatenate(acc).mean())}, names=("zeros",))]


@pytest.fixture
def page(monkeypatch):
    """The page with a start that triples the parameters, and with an evaluator."""
    experiment = with_run(
        experiment_of(PAGE),
        start=lambda run: lambda state: state.replace(params=jax.tree.map(lambda x: 3 * x, state.params)),
        evaluators=share_of_zeros,
    )
    monkeypatch.setattr(importlib.import_module(PAGE), "experiment", experiment)
    return experiment


def valid_rows(folder):
    log = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row for row in log if row["split"] == "valid"]


@pytest.mark.slow
def test_a_trial_trains_and_measures_what_train_does(page, tmp_path, capsys):
    flags = [*FLAGS, "--steps=4", "--eval_every=2", "--log_every=2"]
    assert run(page, [*flags, "--learning_rate=0.02", f"--run_dir={tmp_path / 'train'}"]) == 0
    loss, zeros = np.array([[row["loss"], row["zeros"]] for row in valid_rows(tmp_path / "train")]).T
    words = ["learning_rate=0.01,0.02", *flags, "--metric=zeros", "--better=min", "--method=grid"]
    for share in ("--share", "--noshare"):
        out = printed(capsys, *words, share, f"--out={tmp_path / share}")
        assert ("2 trials in one step" in out) == (share == "--share")
        assert rows(tmp_path / share)[1]["score"] == pytest.approx(min(zeros), abs=1e-6)
        of_trial = ("group0", "loss/1") if share == "--share" else ("trial1", "loss")
        found = [row[of_trial[1]] for row in valid_rows(tmp_path / share / of_trial[0])]
        np.testing.assert_allclose(found, loss, rtol=1e-5)
    best = Trial({"learning_rate": 0.02}, 0.0, 2, ([2], [0.0]))
    assert 0 <= retrain(PAGE, flags, best, tmp_path)["zeros"] <= 1


@pytest.mark.slow
def test_metrics_are_checked_before_anything_is_trained(page, tmp_path, capsys):
    words = ["learning_rate=0.01,0.02", *FLAGS, f"--out={tmp_path}"]
    error = printed(capsys, *words, "--metric=foo", status=2)
    assert "--metric=foo: not a validation metric of classification.supervised; allowed: accuracy, " in error
    assert "calibration/ece" in error
    assert "zeros" in error
    error = printed(capsys, *words, "--metric=zeros", status=2)
    assert "--metric=zeros: unknown direction; allowed: with --better=max" in error
    error = printed(capsys, *words[1:], "l2=log:1e-6:1e-2", "--metric=calibration/ece", "--method=pbt", status=2)
    assert "--method=pbt: l2 cannot all share one compiled step and measure calibration/ece in it" in error
    assert not list(tmp_path.rglob("metrics.jsonl"))


def test_the_sense_of_a_metric_is_the_metrics():
    experiment = dataclasses.replace(experiment_of(PAGE), measures=[Measure("loss", "min")])
    senses = {"accuracy": "max", "loss": "min", "map50/word_error": "max", "word_error_rate": "min", "kid": "min"}
    senses |= {"calibration/ece": "min", "bleu4": "max", "policy_loss": "min", "knn_untrained": "max", "top5": "max"}
    senses |= {"nll": "min", "silog": "min", "sq_rel": "min", "r5": "max"}  # of dlcore.report.measures
    assert {metric: monitor_mode_of(metric, experiment) for metric in senses} == senses
    assert monitor_mode_of("loss", experiment, "max") == "max"
    assert monitor_mode_of("mine", dataclasses.replace(experiment, measures=[Measure("mine", "min")])) == "min"


def test_no_flag_of_the_search_hides_one_of_a_page(capsys, monkeypatch):
    experiment = dataclasses.replace(experiment_of(PAGE), use=SimpleNamespace(settings={"first": Setting(1)}))
    monkeypatch.setattr(importlib.import_module(PAGE), "experiment", experiment)
    assert "--first: a flag of classification.supervised and of the search" in printed(capsys, "l2=0.1,1", status=2)


def test_a_page_gets_its_own_words():
    own, axes, rest = split_arguments(["l2=0.1,1", "--workers=3", "--processes=2", "--eta=0.5", "--noshare"])
    assert (own.processes, own.share, axes, rest) == (2, False, ["l2=0.1,1"], ["--workers=3", "--eta=0.5"])


@pytest.mark.parametrize("word", ["--track=mlflow", "--watch=5", "--run_dir=D", "--run=D", "--fresh"])
def test_a_flag_that_a_search_would_ignore_is_refused(word):
    name = word[2:].split("=")[0]
    with pytest.raises(FlagError, match=rf"^{word}: a search takes no --{name}; allowed: --{name} of a training"):
        split_arguments(["l2=0.1,1", word])


def test_survivors_of_halving_come_first():
    def trial(score, dropped):
        return Trial({"a": 1.0}, score, 10, ([10], [score]), dropped)

    trials = [trial(0.9, 1), trial(0.5, 0), trial(float("nan"), 0), trial(0.7, 2), trial(0.6, 0)]
    assert ranked(trials, "max") == [4, 1, 0, 3, 2]
    assert ranked(trials, "min") == [1, 4, 0, 3, 2]


@pytest.mark.weekly
@pytest.mark.covers("TR-17")
def test_the_best_iterate_is_kept_and_retrained_on_everything(tmp_path):
    """The checkpoint that is kept is the argmax over validations, and holds its parameters."""
    experiment = experiment_of(PAGE)
    resolved = ResolvedRun(
        experiment, resolve(experiment, [*FLAGS, "--steps=60", "--eval_every=5", "--learning_rate=0.05"])
    )
    data = resolved.experiment.run(resolved.flags).load()
    learner = resolved.training({**data.spec, "train_size": len(data.train)}).build()
    pipeline = Pipeline(data.train, 64)
    result = fit(
        learner,
        pipeline,
        steps=60,
        valid=data.valid,
        folder=tmp_path / "run",
        eval_every=5,
        log_every=5,
        progress=False,
        placement=single(),
        saving=Saving(monitor="loss", mode="min"),
    )
    losses = {row["step"]: row["loss"] for row in result.history if row["split"] == "valid"}
    assert result.best_step == min(losses, key=losses.get)
    store = Checkpoints(tmp_path / "run" / "checkpoints", mode="min", read_only=True)
    program = Program(learner, pipeline.batch_at(0), single(), 0)
    state = store.restore(program.abstract_carry, result.best_step)[1].state
    store.close()
    assert evaluate(learner, state, data.valid, placement=single())["loss"] == pytest.approx(min(losses.values()))
    best = Trial({"learning_rate": 0.05}, 1.0, 15, ([15], [1.0]))
    numbers = retrain(PAGE, FLAGS, best, tmp_path)
    assert 0.5 < numbers["accuracy"] <= 1
    log = [json.loads(line) for line in (tmp_path / "retrained" / "metrics.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == 15
    assert log[-1]["epoch"] == pytest.approx(15 * 64 / (len(data.train) + len(data.valid)), abs=1e-3)


@pytest.mark.slow
def test_only_classifiers_make_an_ensemble(tmp_path, capsys):
    words = ["experiments.generative.autoencoder", "learning_rate=0.01,0.02", "--smoke", "--ensemble=2"]
    assert main([*words, f"--out={tmp_path}"]) == 2
    assert "--ensemble: generative.autoencoder is no classifier; allowed: without it" in capsys.readouterr().err


@pytest.mark.weekly
@pytest.mark.covers("RG-22")
def test_the_ensemble_of_the_best_averages_their_probabilities(tmp_path, capsys):
    """-log is convex: its loss is at most the mean of the members' losses; of one trial twice it is that trial's."""
    good, poor = (Trial({"learning_rate": rate}, 1.0, 15, ([15], [1.0])) for rate in (0.05, 0.001))
    twice, alone = measure_ensemble(PAGE, FLAGS, [good, good], tmp_path / "same")
    assert twice["loss"] == pytest.approx(alone["loss"], rel=1e-5)
    joined, best = measure_ensemble(PAGE, FLAGS, [good, poor], tmp_path / "both")
    assert best["loss"] == pytest.approx(alone["loss"], rel=1e-5)
    assert best["accuracy"] == pytest.approx(retrain(PAGE, FLAGS, good, tmp_path)["accuracy"], abs=1e-6)
    other = measure_ensemble(PAGE, FLAGS, [poor], tmp_path / "poor")[0]
    assert best["loss"] < joined["loss"] < (best["loss"] + other["loss"]) / 2
    words = ["learning_rate=0.001,0.05,0.1", "--method=grid", "--ensemble=2", f"--out={tmp_path / 'search'}", *FLAGS]
    out = printed(capsys, *words)
    assert "Mean of the probabilities of the 2 best, retrained on training and validation data and tested once" in out
    assert sorted(path.name for path in (tmp_path / "search").glob("member*")) == ["member0", "member1"]


def test_sources_are_joined_only_where_they_hold_the_same():
    both = join(digits("train").take(3), digits("test").take(2))
    assert len(both) == 5
    np.testing.assert_array_equal(both.arrays["image"][3:], digits("test").arrays["image"][:2])
    from dlcore.data.source import Source

    with pytest.raises(ValueError, match="the arrays of the first"):
        join(digits("train"), Source({"image": np.zeros((2, 8, 8, 1))}))


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["l2=log:1e-4:1", "--ensemble=0"], "--ensemble=0: out of range; allowed: at least 1"),
        ([], "space: empty; allowed: at least one axis"),
        (["learning_rat=log:1e-4:1"], "learning_rat: unknown (did you mean learning_rate?); allowed: the settings"),
        (["learning_rate=log:1:1e-4"], "learning_rate"),
        (["l2=log:1e-4:1", "--l2=0.1"], "--l2=0.1: fixed, and an axis of the search; allowed: either"),
        (["learning_rate=log:1e-4:1", "--method=annealing"], "--method=annealing: unknown"),
        (["momentum=uniform:0:2", "--trials=30"], "--momentum="),
        (["optimizer=sgd,adamw", "--method=pbt"], "cannot all share one compiled step"),
        (["l2=log:1e-4:1", "--method=halving", "--first=0"], "--first=0: out of range; allowed: at least 1"),
        (["l2=log:1e-4:1", "--method=halving", "--first=21"], "--first=21: longer than a run; allowed: 1 to 20"),
        (["l2=log:1e-4:1", "--method=pbt", "--exchange=0"], "--exchange=0: out of range; allowed: at least 1"),
        (["l2=log:1e-4:1", "--method=coarse_to_fine", "--trials=1"], "--trials=1: too few for two stages"),
    ],
)
def test_bad_words_are_named(capsys, words, problem):
    capsys.readouterr()
    assert main([PAGE, *words, *FLAGS]) in (1, 2)
    assert problem in capsys.readouterr().err


def test_a_module_without_a_learner_is_refused(capsys):
    with pytest.raises(ValueError, match="allowed: a module with an experiment"):
        experiment_of("experiments.classification.nothing")
    with pytest.raises(ValueError, match="a Study without a learner; allowed: an Experiment"):
        experiment_of("experiments.studies.optimizer_race")
    with pytest.raises(FlagError):
        run_trials(PAGE, FLAGS, [{"momentum": 3.0}], None, metric="loss")


def test_several_training_sources_are_searched_but_not_joined(capsys, tmp_path):
    pipelines = {name: Pipeline(Source.indices(8), size) for name, size in (("labeled", 2), ("unlabeled", 4))}
    later = OffsetPipeline(pipelines, 3)
    assert {name: len(batch["index"]) for name, batch in later.batch_at(1).items()} == {"labeled": 2, "unlabeled": 4}
    np.testing.assert_array_equal(later.batch_at(1)["labeled"]["index"], pipelines["labeled"].batch_at(4)["index"])
    assert later.settings["offset"] == 3
    words = ["experiments.semi_supervised.pi_model", "learning_rate=0.01,0.02", "--smoke", "--retrain"]
    assert main([*words, f"--out={tmp_path}"]) == 2
    error = capsys.readouterr().err
    assert "--retrain: semi_supervised.pi_model has several training sources; allowed: without it" in error
