"""--mode=train around its parts: earlier phases, changed code, and the normalization of a resumed run."""

import json
from types import SimpleNamespace

import pytest

from dlcore import main
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.modes import train as module
from dlcore.run.fit import Saving, fit
from dlcore.run.hooks import EarlyStopping
from experiments.classification.supervised import experiment


def test_a_page_of_an_earlier_phase_is_trained_only_where_it_has_not_finished(monkeypatch, tmp_path, capsys):
    done, run = [], SimpleNamespace(folder=tmp_path / "run")
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


def test_a_resumed_run_is_normalized_as_at_its_beginning(tmp_path, monkeypatch):
    spec = {"mean": [0.5], "std": [0.75], "image_shape": [8]}
    data = Splits(Source.indices(7), Source.indices(5), None, spec, ("of the data",))
    config = {"spec": {"mean": [0.25], "image_shape": [4, 4, 1]}}
    run = SimpleNamespace(folder=tmp_path, load=lambda: data)
    monkeypatch.setattr(module, "config_of", lambda run: config)
    monkeypatch.setattr(module, "check_resumed", lambda *args: ["resumed"])
    monkeypatch.setattr(module, "known_data", lambda folder, config: {})
    prepared = module._resumed(run)
    assert prepared.data.spec == {**spec, "mean": [0.25]}
    assert prepared.data.notes == ("of the data", "resumed")


@pytest.mark.slow
def test_flags_of_saving_and_logging_reach_the_training(tmp_path, monkeypatch):
    """A real run, whose arguments of `fit` are noted on their way."""
    seen = []
    monkeypatch.setattr(module, "fit", lambda *args, **words: seen.append(words) or fit(*args, **words))
    words = ["--model=mlp", "--model.hidden=4", "--steps=4", "--batch_size=32", "--log_every=2", "--eval_every=4"]
    words += ["--checkpoint_seconds=7", "--checkpoint_steps=8", "--keep_last=6", "--grace_seconds=5", "--seed=3"]
    words += ["--eval_batch_size=100", "--noprogress", "--patience=2", "--learning_rate=0.25", "--schedule=constant"]
    assert main.run(experiment, [*words, "--warmup=0", "--changed_data", f"--run_dir={tmp_path / 'run'}"]) == 0
    (given,) = seen
    assert given["saving"] == Saving(7.0, 8, 6, monitor="accuracy", mode="max", grace_seconds=5.0)
    names = ("steps", "seed", "log_every", "eval_every", "eval_batch_size", "progress", "changed_data", "folder")
    assert [given[name] for name in names] == [4, 3, 2, 4, 100, False, True, tmp_path / "run"]
    assert (float(given["learning_rate"](2)), len(given["valid"])) == (0.25, 130)
    assert [hook.patience for hook in given["hooks"] if isinstance(hook, EarlyStopping)] == [2]
