"""An experiment from the command line, in this process: its folder, its second call, bad input."""

import dataclasses
import html
import importlib
import json
import re
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from dlcore import main as machinery
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.experiment.experiment import Experiment
from dlcore.experiment.flags import Flags
from dlcore.experiment.parts import Measure
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.experiment.settings import RUN
from dlcore.learner import Learner
from dlcore.main import run
from dlcore.models.network import model_settings
from dlcore.run import provenance
from dlcore.run.metrics_writer import read_metrics
from dlcore.setting import FlagError
from experiments import ledger
from experiments.classification.supervised import experiment
from tests.overriding import with_run

SMALL = ["--model=mlp", "--model.hidden=16", "--steps=4", "--batch_size=32", "--log_every=2", "--eval_every=4"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(folder given as --runs, the run's folder) of one finished run."""
    runs = tmp_path_factory.mktemp("runs")
    assert run(experiment, [*SMALL, f"--runs={runs}"]) == 0
    (folder,) = (runs / "classification.supervised").iterdir()
    return runs, folder


def snapshot(folder: Path) -> dict:
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in sorted(folder.rglob("*")) if p.is_file()}


def one_line(capsys, status, *words):
    """The error of the last run: one line on stderr that holds the words."""
    err = capsys.readouterr().err
    lines = [line for line in err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1, err
    assert "Traceback" not in err
    for word in words:
        assert word in lines[0], lines[0]
    assert status in (1, 2)


# What a run leaves


@pytest.mark.slow
def test_the_folder_of_a_finished_run(finished):
    _, folder = finished
    names = {p.name for p in folder.iterdir()}
    assert {"config.json", "metrics.jsonl", "checkpoints", "report.html", "result.json", "finished.json"} <= names
    assert list(folder.glob("*tfevents*")), names
    rows = read_metrics(folder)
    assert [(row["step"], row["split"]) for row in rows] == [(2, "train"), (4, "train"), (4, "valid"), (4, "test")]
    assert "<html" in (folder / "report.html").read_text()
    line = json.loads((folder / "result.json").read_text())
    assert line["experiment"] == "classification.supervised"
    assert line["metric"] == "test accuracy"
    assert line["value"] == rows[-1]["accuracy"]
    assert line["baseline"] == {"value": 0.102, "name": "the most frequent class", "better": "higher"}
    assert line["dataset"] == "digits"
    assert line["seed"] == 0
    assert line["wall_seconds"] > 0
    assert line["smoke"] is False
    assert ledger.candidate(folder) == line | {"values": {"0": line["value"]}}
    assert not list(folder.rglob("*.tmp"))


@pytest.mark.slow
def test_the_configuration_says_all(finished):
    config = json.loads((finished[1] / "config.json").read_text())
    flags = resolve(experiment, SMALL)
    assert set(config["settings"]) == {*flags, "mode"} >= set(RUN)
    assert config["settings"]["model.hidden"] == [16]
    assert config["settings"]["l2"] == 0.0
    # Young settings stand in the identity only where they are changed.
    settings = {**RUN, **experiment.settings, **model_settings("mlp")}
    assert set(config["identity"]) == set(flags) - {"mode"} - {
        name for name, setting in settings.items() if setting.identity is not True
    }
    for package in ("python", "jax", "flax", "optax", "orbax-checkpoint", "numpy", "dlcore"):
        assert config["versions"][package]
    assert "commit" in config
    assert config["devices"] == {"platform": "cpu", "kind": "cpu", "count": 8, "processes": 1}
    assert config["command"].startswith("python ")
    assert config["spec"]["class_names"] == [str(i) for i in range(10)]
    assert config["spec"]["train_size"] == 1297 - round(0.1 * 1297)


@pytest.mark.slow
def test_the_report_says_how_and_by_which_code(finished):
    config = json.loads((finished[1] / "config.json").read_text())
    page = html.unescape((finished[1] / "report.html").read_text())
    result = json.loads((finished[1] / "result.json").read_text())
    assert config["command"] == result["command"] == provenance.command()
    assert f">{config['command']}<" in page
    assert config["commit"] == result["commit"] == provenance.commit()
    assert config["commit"] is None or f">{config['commit']}<" in page
    for text in ("What the numbers mean", "Accuracy, ", "(higher is better)", "500 test examples", "reaches 10.20 %"):
        assert text in page, text
    for rest in ("evaluate", "predict", "export"):
        assert f" --mode={rest} --run={finished[1]}" in page
    assert any(b"test/worst_mistakes" in path.read_bytes() for path in finished[1].glob("*tfevents*"))


@pytest.mark.slow
def test_a_config_json_repeats_the_run(finished, capsys):
    """From its settings alone the same folder is found, and so nothing is left to do."""
    runs, folder = finished
    before = snapshot(folder)
    assert run(experiment, [f"--config_json={folder}", f"--runs={runs}"]) == 0
    assert f"finished before: {folder / 'report.html'}" in capsys.readouterr().out
    assert snapshot(folder) == before


# The same command again


@pytest.mark.slow
def test_a_finished_run_prints_its_report_and_changes_nothing(finished, capsys):
    runs, folder = finished
    before = snapshot(folder)
    assert run(experiment, [*SMALL, f"--runs={runs}"]) == 0
    assert f"finished before: {folder / 'report.html'}  (--fresh trains again)" in capsys.readouterr().out
    assert run(experiment, [*SMALL, f"--runs={runs}", "--log_every=1", "--noprogress", "--keep_last=5"]) == 0
    assert "finished before" in capsys.readouterr().out, "what does not change the result is no part of the name"
    assert snapshot(folder) == before
    assert len(list(folder.parent.iterdir())) == 1


@pytest.mark.slow
def test_fresh_trains_again_and_keeps_the_old(finished, tmp_path, capsys):
    runs = tmp_path / "runs"
    shutil.copytree(finished[0], runs)
    name = finished[1].name
    before = {k: (runs / "classification.supervised" / name / k).read_bytes() for k in ("metrics.jsonl", "report.html")}
    for number in (1, 2):
        assert run(experiment, [*SMALL, f"--runs={runs}", "--fresh"]) == 0
        assert (
            f"the earlier run is now {runs / 'classification.supervised' / name}.old{number}" in capsys.readouterr().out
        )
    old = runs / "classification.supervised" / f"{name}.old1"
    assert {k: (old / k).read_bytes() for k in before} == before
    assert (runs / "classification.supervised" / name / "result.json").exists()


@pytest.mark.slow
def test_fresh_starts_anew_where_another_command_was_stopped(finished, tmp_path, capsys):
    """A refused command leaves the run where it is."""
    folder = tmp_path / "run"
    shutil.copytree(finished[1], folder)
    for file in ("result.json", "finished.json"):
        (folder / file).unlink()
    before = snapshot(folder)
    words = [*SMALL, f"--run_dir={folder}", "--fresh"]
    assert run(experiment, [*words, "--dataset=folder", f"--data_dir={tmp_path / 'nowhere'}"]) == 2
    assert snapshot(folder) == before
    capsys.readouterr()
    assert run(experiment, words) == 0
    out = capsys.readouterr().out
    assert f"the earlier run is now {folder}.old1" in out
    assert "resuming" not in out
    old = snapshot(folder.with_name("run.old1"))
    assert {**old, ".run.lock": 0} == {**before, ".run.lock": 0}


@pytest.mark.slow
def test_a_refused_command_and_a_plan_without_an_end_leave_no_folder(tmp_path):
    runs = tmp_path / "runs"
    words = [*SMALL, f"--runs={runs}", "--dataset=folder", f"--data_dir={tmp_path / 'nowhere'}"]
    for mode in ("train", "plan", "profile"):
        assert run(experiment, [*words, f"--mode={mode}"]) == 2
        assert not runs.exists()


@pytest.mark.slow
def test_a_run_that_is_only_tested_again_reports_the_memory_of_its_step(finished, tmp_path):
    """Nothing is compiled then; the temporaries of the step are in its checkpoint."""
    folder = tmp_path / "run"
    shutil.copytree(finished[1], folder)
    (folder / "result.json").unlink()
    title = "Memory of a step: .*?<"
    before = re.search(title, (folder / "report.html").read_text())[0]
    (folder / "report.html").unlink()
    jax.clear_caches()
    assert run(experiment, [*SMALL, f"--run_dir={folder}"]) == 0
    page = (folder / "report.html").read_text()
    assert re.search(title, page)[0] == before
    assert [row["split"] for row in read_metrics(folder)].count("test") == 1
    assert "temporaries" in page
    assert "waiting for data" not in page, "no step waited"


@pytest.mark.slow
@pytest.mark.parametrize(("select", "step"), [("best", 20), ("last", 40)])
def test_the_best_checkpoint_is_tested_unless_the_last_is_asked_for(tmp_path, select, step):
    """A hook sets the parameters of step 20 to zero after their validation."""

    def set_to_zero(at, state, metrics):
        return state.replace(params=jax.tree.map(jnp.zeros_like, state.params)) if at == 20 else None

    words = ["--steps=40", "--eval_every=20", "--log_every=20", "--learning_rate=0.03", "--warmup=0", "--ema=none"]
    page = with_run(experiment, hooks=lambda run: [set_to_zero])
    assert run(page, [*SMALL, *words, f"--select={select}", f"--run_dir={tmp_path}"]) == 0
    line = json.loads((tmp_path / "result.json").read_text())
    assert (line["step"], line["value"] == 0.1) == (step, select == "best"), "zeros, which name one class for all"


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "step"), [("min", 40), ("max", 20)])
def test_the_best_is_the_smallest_or_the_largest_as_the_task_says(tmp_path, mode, step):
    """The loss of step 40 is less than that of step 20."""
    words = ["--steps=40", "--select=best", "--eval_every=20", "--log_every=20", "--learning_rate=0.03", "--warmup=0"]
    page = dataclasses.replace(experiment, measures=(Measure("loss", mode), *experiment.parts.measures))
    assert run(page, [*SMALL, *words, f"--run_dir={tmp_path}"]) == 0
    first, second = (row["loss"] for row in read_metrics(tmp_path) if row["split"] == "valid")
    assert first > second
    assert json.loads((tmp_path / "result.json").read_text())["step"] == step


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("config.json", "", ["config.json", "it is empty"]),
        ("config.json", '{"settings": {}, "experiment": "classification.supervised"}', ["config.json", "'identity'"]),
        ("finished.json", "", ["finished.json", "it is empty"]),
        ("result.json", '{"experiment"', ["result.json", "it is not JSON"]),
    ],
)
def test_a_damaged_file_of_the_run_is_named(finished, tmp_path, capsys, name, content, words):
    folder = tmp_path / "run"
    shutil.copytree(finished[1], folder)
    (folder / "result.json").unlink()
    (folder / name).write_text(content)
    one_line(capsys, run(experiment, [*SMALL, f"--run_dir={folder}"]), *words)


@pytest.mark.slow
def test_a_resume_says_which_code_changed(finished, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(finished[1], folder)
    (folder / "result.json").unlink()
    sources = json.loads((folder / "sources.json").read_text())
    assert {"dlcore/classification/supervised.py", "experiments/classification/supervised.py"} <= set(sources)
    assert run(experiment, [*SMALL, f"--run_dir={folder}"]) == 0
    assert "the code changed" not in capsys.readouterr().out
    (folder / "result.json").unlink()
    changed = {**sources, "dlcore/classification/supervised.py": "0" * 16, "dlcore/gone.py": "0" * 16}
    (folder / "sources.json").write_text(json.dumps(changed))
    assert run(experiment, [*SMALL, f"--run_dir={folder}"]) == 0
    out = capsys.readouterr().out
    assert "warning: the code changed since this run began: dlcore/classification/supervised.py\n" in out


class Died(Exception):
    """What a test raises in place of a kill."""


def dying(at):
    """The experiment, with a hook that dies at its call at a step."""

    def hook(step, state, metrics):
        if step == at:
            raise Died

    return with_run(experiment, hooks=lambda run: [hook])


@pytest.mark.slow
def test_an_unfinished_run_is_resumed_by_the_same_command(tmp_path, capsys):
    words = [*SMALL, f"--run_dir={tmp_path / 'run'}", "--checkpoint_steps=1", "--checkpoint_seconds=0"]
    with pytest.raises(Died):
        run(dying(4), words)
    assert run(experiment, words) == 0
    assert "resuming after step 3" in capsys.readouterr().out
    assert run(experiment, [*SMALL, f"--run_dir={tmp_path / 'whole'}"]) == 0
    left, right = (
        [{k: v for k, v in row.items() if k not in ("seconds", "examples_per_second")} for row in read_metrics(folder)]
        for folder in (tmp_path / "run", tmp_path / "whole")
    )
    assert left == right


@pytest.mark.weekly
def test_fresh_is_for_finished_runs_so_that_a_requeued_job_gets_on(tmp_path, capsys):
    """A stopped command that began with `--fresh` goes on when it is run again."""
    words = [*SMALL, f"--run_dir={tmp_path / 'run'}", "--checkpoint_steps=1", "--checkpoint_seconds=0", "--fresh"]
    with pytest.raises(Died):
        run(dying(4), words)
    assert run(experiment, words) == 0
    assert "resuming after step 3" in capsys.readouterr().out


@pytest.mark.slow
def test_other_settings_in_a_given_folder_are_named_and_nothing_is_written_over(finished, capsys):
    _, folder = finished
    before = snapshot(folder)
    status = run(experiment, [*SMALL, f"--run_dir={folder}", "--seed=1", "--l2=0.5", "--model.hidden=8,8"])
    one_line(
        capsys,
        status,
        str(folder),
        "seed=0 there, 1 here",
        "l2=0.0 there, 0.5 here",
        "model.hidden=[16] there, [8, 8] here",
    )
    assert status == 2
    assert snapshot(folder) == before


@pytest.mark.slow
def test_another_page_in_a_given_folder(finished, capsys, tmp_path):
    other = dataclasses.replace(experiment, file=str(tmp_path / "classification" / "other.py"))
    before = snapshot(finished[1])
    status = run(other, [*SMALL, f"--run_dir={finished[1]}"])
    one_line(capsys, status, "experiment classification.supervised there, classification.other here")
    assert snapshot(finished[1]) == before


# The folder's name


def folder_of(*words):
    return ResolvedRun(experiment, resolve(experiment, [*SMALL, *words])).folder


def test_the_folder_is_named_by_what_decides_the_result():
    assert (
        folder_of() == folder_of("--steps=4") == folder_of("--progress=false", "--checkpoint_steps=7", "--device_data")
    )
    assert folder_of().parent == Path("runs/classification.supervised")
    names = {
        folder_of(*words).name
        for words in (
            [],
            ["--seed=1"],
            ["--steps=5"],
            ["--model.hidden=17"],
            ["--l2=0.1"],
            ["--dataset=mnist"],
            ["--precision=bf16"],
            ["--batch_size=16"],
            ["--augment=none"],
            ["--learning_rate=0.1"],
        )
    }
    assert len(names) == 10
    assert folder_of("--runs=/else").parent == Path("/else/classification.supervised")
    assert folder_of("--run_dir=/mine") == Path("/mine")


def test_smoke_is_no_setting_of_its_own():
    """The settings it stands for decide: given by hand they are the same run."""
    smoke = ResolvedRun(experiment, resolve(experiment, ["--smoke"]))
    by_hand = [f"--{name}={value}" for name, value in experiment.smoke.items()]
    assert ResolvedRun(experiment, resolve(experiment, by_hand)).folder == smoke.folder


def test_steps_and_epochs():
    assert ResolvedRun(experiment, resolve(experiment, ["--steps=7"])).steps(1000) == 7
    resolved = ResolvedRun(experiment, resolve(experiment, ["--epochs=3", "--batch_size=100"]))
    assert [resolved.steps(n) for n in (1000, 1010, 10)] == [30, 30, 1]


def test_precision_reaches_the_model_and_not_the_parameters(tmp_path):
    resolved = ResolvedRun(experiment, resolve(experiment, [*SMALL, "--precision=bf16"]))
    assert resolved.training({"train_size": 100}).dtype == jnp.bfloat16
    assert ResolvedRun(experiment, resolve(experiment, SMALL)).training({"train_size": 100}).dtype == jnp.float32
    data = experiment.run(resolved.flags).load()
    built = resolved.training({**data.spec, "train_size": len(data.train)}).build()
    state = jax.eval_shape(built.init, jax.random.key(0), resolved.pipelines(data).batch_at(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype(jnp.float32)}


# Placements


@pytest.mark.slow
@pytest.mark.weekly(unless=["words2"])
@pytest.mark.parametrize(
    "words",
    [["--spmd=pmap"], ["--mesh=data:4,model:2", "--sharding=fsdp+tensor", "--model.hidden=64"], ["--device_data"]],
)
def test_other_placements_learn_the_same(finished, tmp_path, words):
    plain = read_metrics(finished[1])
    if "--model.hidden=64" in words:
        assert run(experiment, [*SMALL, "--model.hidden=64", f"--run_dir={tmp_path / 'plain'}"]) == 0
        plain = read_metrics(tmp_path / "plain")
    assert run(experiment, [*SMALL, *words, f"--run_dir={tmp_path / 'run'}"]) == 0
    for ours, theirs in zip(read_metrics(tmp_path / "run"), plain, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-3), "Adam turns rounding into small steps"


# Bad input: one clear line, a status, nothing written over


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model=mlp", "--model.hidden=8,0"], "--model.hidden=0: out of range"),
        (["--model=mlp", "--model.hidden=-8"], "--model.hidden=-8: out of range"),
        (["--model.width=0"], "--model.width=0: no network: width=0: out of range"),
        (["--model=inception_v3"], "--model=inception_v3: no network: x.shape="),
        (["--model.width=-4", "--mode=sanity"], "--model.width=-4: out of range"),
    ],
)
def test_fields_that_make_no_network_are_named(words, message, tmp_path, capsys):
    status = run(experiment, ["--batch_size=8", f"--run_dir={tmp_path}", *words])
    one_line(capsys, status, f"error: {message}", "; allowed: ")
    assert status == 2
    assert not (tmp_path / "config.json").exists()


@pytest.mark.slow
def test_steps_that_make_no_update_are_told(tmp_path, capsys):
    words = [*SMALL, f"--run_dir={tmp_path}", "--accumulate=3", "--noprogress"]
    noting = with_run(experiment, messages=lambda run, data: [f"{len(data.train)} for {run.steps} steps"])
    assert run(noting, words) == 0
    out = capsys.readouterr().out
    assert "note: the last 1 of 4 steps make no update, which takes --accumulate=3 steps" in out
    assert " for 4 steps\n" in out.partition("test at step 4")[0]
    assert run(experiment, [*words, "--accumulate=5", "--fresh"]) == 2
    one_line(capsys, 2, "--accumulate=5: no update in 4 steps; allowed: 1 to 4")


@pytest.mark.weekly
def test_the_last_seed_is_a_seed(tmp_path):
    words = ["--model=mlp", "--model.hidden=4", "--steps=1", "--eval_every=1", "--noprogress", "--batch_size=8"]
    assert run(experiment, [*words, f"--run_dir={tmp_path}", "--seed=4294967295"]) == 0


def test_a_batch_larger_than_the_data(capsys, tmp_path):
    status = run(experiment, [*SMALL, f"--run_dir={tmp_path / 'run'}", "--batch_size=2000"])
    one_line(capsys, status, "batch_size=2000", "1167")
    assert status == 2, "a flag is wrong, though only the data show it"
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--mesh=data:3"], "--mesh=data:3: asks for 3 devices; allowed: the 8"),
        (["--mesh=eight"], "--mesh=eight: malformed"),
        (["--sharding=tensor"], "the mesh has no axis 'model'"),
        (["--spmd=pmap", "--sharding=fsdp"], "--spmd=pmap: replicates parameters"),
    ],
)
def test_a_mesh_that_cannot_be(capsys, tmp_path, words, message):
    status = run(experiment, [*SMALL, f"--run_dir={tmp_path / 'run'}", *words])
    one_line(capsys, status, message)
    assert not (tmp_path / "run" / "checkpoints").exists() or not any((tmp_path / "run" / "checkpoints").iterdir())


def test_a_mesh_fails_before_any_data_is_read(capsys, tmp_path):
    def never(flags):
        raise AssertionError("data was read")

    status = run(with_run(experiment, load=never), [*SMALL, f"--run_dir={tmp_path / 'run'}", "--mesh=data:3"])
    one_line(capsys, status, "error: --mesh=data:3: ")
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_written(capsys, tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    status = run(experiment, [*SMALL, f"--run_dir={file / 'run'}"])
    one_line(capsys, status, f"run folder {file / 'run'} cannot be written to")
    assert file.read_text() == "mine"


@pytest.mark.slow
def test_a_checkpoint_of_another_model(finished, capsys, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copytree(finished[1] / "checkpoints", folder / "checkpoints")
    before = snapshot(folder)
    status = run(experiment, [*SMALL, f"--run_dir={folder}", "--model.hidden=24"])
    one_line(capsys, status, "is of another model", "[16] there and", "[24] here")
    after = snapshot(folder)
    assert {k: after.get(k) for k in before} == before


def test_an_image_size_that_does_not_fit(capsys, tmp_path):
    """LeNet takes 28 x 28 to 32 x 32, or whatever it says: 4 x 4 is too small for it."""
    words = ["--model=lenet5", "--steps=2", "--batch_size=32", "--input_size=4", f"--run_dir={tmp_path / 'run'}"]
    one_line(capsys, run(experiment, words), "4x4")


def pictures(folder, modes=("L", "RGB"), classes=("cat", "dog"), size=(9, 11), count=10):
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = np.random.default_rng(1000 * number + i).integers(0, 255, (*size, 4), np.uint8)
            mode = modes[i % len(modes)]
            Image.fromarray(pixels).convert(mode).save(folder / name / f"{i}.png")
    return folder


def on_folder(folder, tmp_path, *words):
    return [
        *SMALL,
        "--dataset=folder",
        f"--data_dir={folder}",
        f"--run_dir={tmp_path / 'run'}",
        "--batch_size=8",
        "--image_size=8",
        *words,
    ]


@pytest.mark.weekly
def test_grey_and_rgba_images_in_one_folder_are_converted_and_that_is_said_once(capsys, tmp_path):
    folder = pictures(tmp_path / "data", modes=("L", "RGBA", "RGB"))
    assert run(experiment, on_folder(folder, tmp_path)) == 0
    out = capsys.readouterr().out
    notes = [line for line in out.splitlines() if line.startswith("note:")]
    assert len([line for line in notes if "grey" in line.lower() or "RGB" in line]) == 1, notes


def test_an_empty_folder(capsys, tmp_path):
    (tmp_path / "data").mkdir()
    one_line(capsys, run(experiment, on_folder(tmp_path / "data", tmp_path)), str(tmp_path / "data"))


def test_a_folder_that_is_not_there(capsys, tmp_path):
    nowhere = tmp_path / "nowhere"
    one_line(
        capsys, run(experiment, on_folder(nowhere, tmp_path)), f"error: --data_dir={nowhere}: no such folder or .zip"
    )


def test_one_class_only(capsys, tmp_path):
    folder = pictures(tmp_path / "data", classes=("cat",))
    one_line(capsys, run(experiment, on_folder(folder, tmp_path)), "class")


@pytest.mark.slow
def test_a_corrupt_image_is_named_or_skipped_and_few_images_make_small_batches(capsys, tmp_path):
    folder = pictures(tmp_path / "data")
    (folder / "dog" / "3.png").write_bytes(b"no image")
    one_line(capsys, run(experiment, on_folder(folder, tmp_path)), "dog/3.png")
    default_batch = [word for word in on_folder(folder, tmp_path, "--skip_bad") if "batch_size" not in word]
    assert run(experiment, default_batch) == 0
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note:")]
    assert "note: batches of 8, since there are fewer than 128 training examples" in notes
    assert [line for line in notes if "1 " in line and ("skip" in line or "left out" in line)], notes


def test_a_dataset_that_is_unknown_or_not_prepared(capsys, tmp_path):
    one_line(capsys, run(experiment, [*SMALL, f"--run_dir={tmp_path / 'a'}", "--dataset=digitz"]), "digitz", "digits")
    status = run(experiment, [*SMALL, f"--run_dir={tmp_path / 'b'}", "--dataset=mnist", f"--data_dir={tmp_path}"])
    one_line(capsys, status, "mnist")
    assert list(tmp_path.glob("*/config.json")) == []


def labelled(label):
    def data(flags):
        source = Source({"image": np.zeros((16, 8, 8, 1), np.uint8), "label": np.full(16, label, np.int32)}, 16)
        raise_if_wrong(source)
        return Splits(source, source, source, {})

    return data


def raise_if_wrong(source):
    from dlcore.data.image_classification import check_labels

    check_labels(source, 10)


def test_a_label_out_of_range(capsys, tmp_path):
    status = run(with_run(experiment, load=labelled(10)), [*SMALL, f"--run_dir={tmp_path / 'run'}"])
    one_line(capsys, status, "label 10", "[0, 10)")


@pytest.mark.slow
def test_training_that_blows_up(capsys, tmp_path):
    words = ["--optimizer=sgd", "--learning_rate=1e30", "--warmup=0", "--schedule=constant", "--steps=20"]
    status = run(experiment, [*SMALL, *words, f"--run_dir={tmp_path / 'run'}"])
    err = capsys.readouterr().err
    assert status == 1
    assert "error: training is no longer finite, first at step" in err
    assert "Traceback" not in err
    assert not (tmp_path / "run" / "result.json").exists()


@pytest.mark.slow
def test_a_full_disk_is_an_exit_status(capsys, tmp_path, monkeypatch):
    from dlcore.run.checkpoint import Checkpoints

    save = Checkpoints.save

    def full(self, step, *args):
        self.failure = OSError("No space left on device")

    monkeypatch.setattr(Checkpoints, "save", full)
    status = run(experiment, [*SMALL, f"--run_dir={tmp_path / 'run'}"])
    one_line(capsys, status, "could not be saved", "No space left on device")
    assert status == 1
    monkeypatch.setattr(Checkpoints, "save", save)
    assert run(experiment, [*SMALL, f"--run_dir={tmp_path / 'run'}"]) == 0


def test_a_traceback_on_demand(capsys, tmp_path):
    status = run(experiment, [*SMALL, f"--run_dir={tmp_path / 'run'}", "--batch_size=2000", "--traceback"])
    err = capsys.readouterr().err
    assert status == 2
    assert "Traceback (most recent call last)" in err
    assert "pipeline.py" in err


@pytest.mark.slow
def test_main_leaves_with_the_status(finished, capsys):
    runs, _ = finished
    machinery.main(experiment, [*SMALL, f"--runs={runs}"])
    for words, status in ((["--nonsense=1"], 2), (["--mesh=data:3", f"--runs={runs}"], 2)):
        with pytest.raises(SystemExit) as caught:
            machinery.main(experiment, words)
        assert caught.value.code == status


def test_bugs_are_not_dressed_up_as_user_errors(tmp_path):
    def build(run) -> Learner:
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        run(with_run(experiment, build=build), [*SMALL, f"--run_dir={tmp_path / 'run'}"])


@pytest.mark.slow
def test_a_page_is_named_by_its_place():
    assert experiment.name == "classification.supervised"
    assert Experiment(file="/x/topic/name.py", doc="", technique=print, data=None).name == "topic.name"


# The command around a mode


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        ("source='w': holds nothing; allowed: x", "--source=w: holds nothing; allowed: x"),
        ("source=w: holds nothing", "--source=w: holds nothing"),
        ("path='w': no such file", "--source=w: no such file"),  # a function's argument of the flag's value
        ("path='v': no such file", "path='v': no such file"),
        ("source='v': another value", "source='v': another value"),
        ("rate=0.5: too large", "--rate=0.5: too large"),
        ("half=0.5: too large", "half=0.5: too large"),  # numbers are of many flags
        ("no argument: at all", "no argument: at all"),
    ],
)
def test_an_error_about_an_argument_names_the_flag_that_its_value_came_from(capsys, message, wanted):
    flags = Flags({"source": "w", "rate": 0.5, "other": "v"}, given=frozenset({"source", "rate"}))
    for error in (ValueError(message), FlagError(message)):
        is_of_flag = wanted != message or isinstance(error, FlagError)
        assert machinery._report(error, show=False, flags=flags) == (2 if is_of_flag else 1)
        assert capsys.readouterr().err == f"error: {wanted}  (--traceback shows where)\n"


def test_a_command_has_the_flags_of_its_mode_and_the_whole_help_those_of_all():
    assert set(machinery.mode_of([])[1]) == {"mode"}
    mode, settings = machinery.mode_of(["--mode=evaluate"])
    assert mode is importlib.import_module("dlcore.modes.evaluate").MODE
    assert {"split", "format", "tta", "members"} < set(settings)
    assert "gradcheck_h" not in settings
    whole = machinery.mode_of(["--help=all"])
    assert whole[0] is importlib.import_module("dlcore.modes.train").MODE
    assert {"split", "gradcheck_h", "profile_steps", "fold_batch_norm", "topology"} < set(whole[1])
    assert machinery.mode_of(["--mode=nothing"])[0] is whole[0]
