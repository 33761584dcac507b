"""--mode=train around its parts: what `fit` gets, which folder is taken, and what is said before a training."""

import contextlib
import json
from types import SimpleNamespace

import pytest

from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.experiment.flags import Flags
from dlcore.modes import train as module
from dlcore.run.saving import Saving
from dlcore.setting import FlagError

DATA = Splits(Source.indices(7), Source.indices(5), None, {}, ("of the data",))
FLAGS = {
    "seed": 3, "eval_batch_size": 9, "log_every": 4, "patience": 0, "fresh": False, "input_pipeline": "dlcore",
    "batch_size": 16, "accumulate": 4, "progress": False, "changed_data": True, "checkpoint_seconds": 7.0,
    "checkpoint_steps": 8, "grace_seconds": 5.0, "keep_last": 6,
}  # fmt: skip


def run_of(tmp_path, config=None, without=(), **flags):
    """Make a run of stand-ins in a folder."""
    training = SimpleNamespace(
        evaluators=lambda data, split: [f"evaluator of {split}"],
        start=lambda: "start",
        hooks=lambda: ["hook"],
        report_hooks=lambda: ["report hook"],
        messages=lambda data: ["of the page"],
        rate_of_step=lambda: "rate",
        build=lambda: "built",
        steps=42,
        spec={"train_size": 7},
    )
    return SimpleNamespace(
        folder=tmp_path / "run",
        flags=Flags({name: value for name, value in {**FLAGS, **flags}.items() if name not in without}),
        experiment=SimpleNamespace(name="a.page", parts=SimpleNamespace(monitor="accuracy", mode="min")),
        tracking="tracking",
        placement=lambda: "placement",
        eval_every=lambda setup: 10,
        config=lambda: config,
        pipelines=lambda data: "pipelines",
        load=lambda: DATA,
        training_of=lambda data: training,
        write_config=lambda *args: None,
    )


def test_a_training_and_a_search_give_fit_the_same_arguments(tmp_path):
    run = run_of(tmp_path)
    setup = run.training_of(DATA)
    expected = {
        "steps": 42, "seed": 3, "valid": DATA.valid, "evaluators": ["evaluator of valid"], "eval_batch_size": 9,
        "start": "start", "hooks": ["hook"], "placement": "placement", "log_every": 4, "learning_rate": "rate",
        "eval_every": 10,
    }  # fmt: skip
    assert module.fit_arguments(run, setup, DATA) == expected
    without = module.fit_arguments(run, setup, DATA._replace(valid=None))
    assert without == {**expected, "valid": None, "evaluators": []}
    stopping = module.fit_arguments(run_of(tmp_path, patience=2), setup, DATA)["hooks"]
    assert (stopping[0], stopping[1].patience) == ("hook", 2)


@pytest.fixture
def fitted(monkeypatch, tmp_path):
    """Train a run of stand-ins; return the arguments of `fit` and of `finish`, and what was written."""

    def call(prepared=None, spec=None, first=True, data=DATA, resumed=False, **flags):
        asked = {"fit": None, "finish": None, "config": []}
        run = run_of(tmp_path, config={} if resumed else None, **flags)
        (run.folder / "checkpoints" / "3").mkdir(parents=True, exist_ok=True)
        if spec is not None:
            run.training_of(data).spec = spec
        run.write_config = lambda *args: asked["config"].append(args)
        monkeypatch.setattr(module, "batch_at", lambda pipelines, step: ("batch", step))
        monkeypatch.setattr(module, "is_first", lambda: first)
        monkeypatch.setattr(module, "_resumed", lambda run: module.Prepared(data, "resumed"))
        monkeypatch.setattr(module.provenance, "sources", lambda: {"a.py": "1"})
        monkeypatch.setattr(module, "write_data", lambda folder, data, known: ("written", known))
        monkeypatch.setattr(module, "watch_hooks", lambda run, setup, batch: [("watch", batch)])
        monkeypatch.setattr(module.provenance, "hardware", lambda: "a machine")
        monkeypatch.setattr(module, "fit", lambda *args, **words: asked.update(fit=(args, words)) or "result")
        monkeypatch.setattr(module, "finish", lambda *args: asked.update(finish=args))
        module._train(run, prepared)
        return SimpleNamespace(**asked, run=run)

    return call


def test_fit_gets_what_was_prepared_and_all_that_flags_say_of_its_folder(fitted, capsys):
    asked = fitted(module.Prepared(DATA, "known", "learner", ["prepared"]))
    args, words = asked.fit
    assert args == ("learner", "pipelines")
    hooks = ["hook", "report hook", ("watch", ("batch", 0))]
    assert words == {
        **module.fit_arguments(asked.run, asked.run.training_of(DATA), DATA),
        "folder": asked.run.folder, "progress": False, "changed_data": True, "tracking": "tracking",
        "input_pipeline": "dlcore", "hooks": hooks,
        "saving": Saving(7.0, 8, 6, monitor="accuracy", mode="min", grace_seconds=5.0),
    }  # fmt: skip
    assert asked.config == [({"train_size": 7}, ("written", "known"))]
    assert json.loads((asked.run.folder / "sources.json").read_text()) == {"a.py": "1"}
    assert asked.finish[1:2] == (DATA,)
    assert asked.finish[3:] == ("learner", "result", hooks, ("batch", 0))
    assert capsys.readouterr().out.splitlines() == [
        "note: of the data",
        "note: the last 2 of 42 steps make no update, which takes --accumulate=4 steps",
        f"a.page: 42 steps on a machine, run folder {asked.run.folder}",
        "note: prepared",
    ]


def test_a_resumed_run_builds_its_learner_anew_and_reads_its_data(fitted, capsys):
    for prepared in (None, module.Prepared(DATA._replace(notes=("others",)), "known", "learner", [])):
        asked = fitted(prepared, resumed=True)
        assert asked.fit[0] == ("built", "pipelines")
        assert asked.config[0][1] == ("written", "resumed")
        said = capsys.readouterr().out
        assert "note: of the page" in said
        assert "others" not in said


def test_without_a_validation_or_with_a_headline_of_the_data_no_checkpoint_is_the_best(fitted):
    for words in ({"data": DATA._replace(valid=None)}, {"spec": {"headline": "loss"}}):
        asked = fitted(None, **words)
        assert asked.fit[1]["saving"].monitor is None


def test_smaller_batches_are_said_and_other_processes_write_nothing(fitted, capsys):
    asked = fitted(None, spec={"batch_size": 4}, first=False, without=["accumulate"])
    assert asked.config == []
    assert not (asked.run.folder / "sources.json").exists()
    assert capsys.readouterr().out.splitlines() == [
        "note: of the data",
        "note: batches of 4, since there are fewer than 16 training examples",
    ]


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """Replace the parts of the mode by stand-ins; return the list of what they do, in order."""
    done = []
    monkeypatch.setattr(module, "check_input_pipeline", lambda name: done.append(("pipeline", name)))
    monkeypatch.setattr(module, "prepare", lambda run: done.append("prepare") or "prepared")
    monkeypatch.setattr(module, "_train", lambda run, prepared: done.append(("train", prepared)))
    monkeypatch.setattr(module, "check_identity", lambda run, config: done.append("identity"))
    monkeypatch.setattr(module, "_check_finished", lambda run, config: done.append("compared"))

    @contextlib.contextmanager
    def lock_folder(folder, name):
        done.append(("lock", name))
        yield

    monkeypatch.setattr(module, "lock_folder", lock_folder)
    return done


def test_a_new_run_is_prepared_before_its_folder_is_locked_and_trained(trained, tmp_path):
    assert module.train(run_of(tmp_path)) == 0
    assert trained == [("pipeline", "dlcore"), "prepare", ("lock", ".run.lock"), ("train", "prepared")]


def test_a_folder_of_a_run_that_cannot_be_prepared_goes_again_if_it_was_new(trained, tmp_path, monkeypatch):
    def refuse(run):
        raise FlagError("no")

    monkeypatch.setattr(module, "prepare", refuse)
    run = run_of(tmp_path)
    for exists in (False, True):
        if exists:
            run.folder.mkdir()
        with pytest.raises(FlagError):
            module.train(run)
        assert run.folder.exists() is exists


def test_a_run_with_a_checkpoint_is_resumed_and_a_finished_one_is_named(trained, tmp_path, capsys):
    run = run_of(tmp_path, config={"experiment": "a.page"})
    (run.folder / "checkpoints" / "3").mkdir(parents=True)
    assert module.train(run) == 0
    assert trained[-1] == ("train", None)
    assert "prepare" not in trained
    (run.folder / "result.json").write_text('{"experiment": "a.page"}')
    del trained[:]
    assert module.train(run) == 0
    assert trained == ["identity", "compared"]
    assert capsys.readouterr().out == f"finished before: {run.folder / 'report.html'}  (--fresh trains again)\n"


def test_fresh_keeps_the_finished_run_under_the_next_free_name(trained, tmp_path, capsys):
    run = run_of(tmp_path, fresh=True)
    module.train(run)
    assert not (tmp_path / "run.old1").exists(), "nothing had finished"
    for number in (1, 2):
        run.folder.mkdir(exist_ok=True)
        (run.folder / "result.json").write_text("{}")
        module.train(run)
        assert (tmp_path / f"run.old{number}" / "result.json").exists()
        assert f"the earlier run is now {tmp_path / 'run'}.old{number}" in capsys.readouterr().out


def test_a_page_of_an_earlier_phase_is_trained_only_where_it_has_not_finished(monkeypatch, tmp_path, capsys):
    done, run = [], run_of(tmp_path)

    page = SimpleNamespace(name="a.page", file=module.__file__)
    monkeypatch.setattr(module, "resolve", lambda experiment, words: words)
    monkeypatch.setattr(module, "ResolvedRun", lambda experiment, flags: run)
    monkeypatch.setattr(module, "train", lambda run: done.append(module.provenance.command()))
    assert module.train_page(page, ("--steps=3",), "phase 1") == run.folder
    assert done == ["python -m dlcore.modes.train --steps=3"]
    assert capsys.readouterr().out == f"phase 1: {run.folder}\n"
    run.folder.mkdir()
    (run.folder / "result.json").touch()
    assert module.train_page(page, (), "phase 1") == run.folder
    assert len(done) == 1


def test_files_of_code_that_changed_since_a_run_began_are_named_up_to_five(tmp_path, monkeypatch, capsys):
    """The digests of the beginning are kept; files that are new or gone are no change."""
    now = {f"{name}.py": "1" for name in "abcdefgh"}
    monkeypatch.setattr(module.provenance, "sources", lambda: now)
    module._note_changed_code(tmp_path)
    module._note_changed_code(tmp_path)
    assert capsys.readouterr().out == ""
    assert json.loads((tmp_path / "sources.json").read_text()) == now
    for changed, said in (
        ("ab", "a.py, b.py"),
        ("abcde", "a.py, b.py, c.py, d.py, e.py"),
        ("abcdefg", "e.py and 2 more"),
    ):
        old = {"gone.py": "1", **{f"{name}.py": "0" for name in changed}}
        (tmp_path / "sources.json").write_text(json.dumps(old))
        module._note_changed_code(tmp_path)
        assert capsys.readouterr().out.endswith(f"{said}\n")
        assert json.loads((tmp_path / "sources.json").read_text()) == {**now, **old}


def test_changed_data_of_a_finished_run_are_said_or_refused_with_the_way_out(tmp_path, monkeypatch, capsys):
    def check(run, config, data):
        if run.flags.changed_data:
            return ["two more"]
        raise FlagError("other data")

    monkeypatch.setattr(module, "check_resumed", check)
    module._check_finished(run_of(tmp_path), {})
    assert capsys.readouterr().out == "note: two more\n"
    with pytest.raises(FlagError, match=r"^other data; --fresh trains again$"):
        module._check_finished(run_of(tmp_path, changed_data=False), {})
    gone = run_of(tmp_path)

    def missing():
        raise OSError

    gone.load = missing
    module._check_finished(gone, {})
    assert capsys.readouterr().out == ""


def test_a_resumed_run_is_normalized_as_at_its_beginning(tmp_path, monkeypatch):
    config = {"spec": {"mean": [0.25], "image_shape": [4, 4, 1]}}
    run = run_of(tmp_path)
    run.load = lambda: DATA._replace(spec={"mean": [0.5], "std": [0.75], "image_shape": [8]})
    monkeypatch.setattr(module, "config_of", lambda run: config)
    monkeypatch.setattr(module, "check_resumed", lambda *args: ["resumed"])
    monkeypatch.setattr(module, "known_data", lambda folder, config: ("known", folder))
    prepared = module._resumed(run)
    assert prepared.data.spec == {"mean": [0.25], "std": [0.75], "image_shape": [8]}
    assert prepared.data.notes == ("of the data", "resumed")
    assert prepared[1:] == (("known", run.folder), None, None, None)
