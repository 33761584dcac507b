"""Sweeps: trials as jobs of submitit, told to stop, requeued, scored; on this machine, as cluster=local runs them."""

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import pytest

from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.run.sharding import make_mesh
from dlcore.run.step import Placement
from launch.slurm import sweep, trial
from launch.slurm.trial import SCORE, TrialJob

ROOT = Path(__file__).resolve().parents[2]
PAGE = "experiments.classification.supervised"
FLAGS = [
    "--model=mlp",
    "--model.hidden=16",
    "--augment=none",
    "--batch_size=64",
    "--steps=6",
    "--eval_every=3",
    "--log_every=3",
    "--ema=none",
]

STOPS = """
import json, os, pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
def stop(*_):
    time.sleep(0.3)
    (folder / "saved").touch()
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
(folder / "parent").write_text(str(os.getppid()))
while not (folder / "saved").exists():
    time.sleep(0.01)
(folder / "score.json").write_text(json.dumps({"score": 0.5, "step": 7, "curve": [[7], [0.5]]}))
"""
"""A trial that goes on until it is told to stop, saves, and finishes when it is started again."""


@pytest.fixture(autouse=True)
def handlers():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR2)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def appears(path):
    deadline = time.monotonic() + 30
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert path.exists()


def test_a_job_gives_the_score_that_its_process_left(tmp_path):
    (tmp_path / "saved").touch()
    assert TrialJob(tmp_path, ["-c", STOPS])() == {"score": 0.5, "step": 7, "curve": [[7], [0.5]]}


def test_an_error_of_the_trial_is_the_job_s(tmp_path):
    with pytest.raises(RuntimeError, match=r"the trial in .* failed with status 3"):
        TrialJob(tmp_path, ["-c", "raise SystemExit(3)"])()


def test_checkpoint_waits_until_the_process_has_saved(tmp_path):
    """submitit calls it inside the handler of its signal, while the resolved waits for the process."""
    resolved, told = TrialJob(tmp_path, ["-c", STOPS]), []

    class Requeued(BaseException):
        pass

    def handler(*_):
        told.append(resolved.checkpoint())
        told.append((tmp_path / "saved").exists())
        raise Requeued

    signal.signal(signal.SIGUSR2, handler)

    def interrupt():
        appears(tmp_path / "parent")
        os.kill(os.getpid(), signal.SIGUSR2)

    threading.Thread(target=interrupt).start()
    with pytest.raises(Requeued):
        resolved()
    submission, saved = told
    assert saved, "the save is complete when the job is requeued"
    assert submission.function.folder == tmp_path
    assert submission.function() == {"score": 0.5, "step": 7, "curve": [[7], [0.5]]}, "and the next attempt goes on"


def test_a_lone_sigterm_is_passed_on_and_asks_to_be_requeued(tmp_path, monkeypatch):
    """proctrack/cgroup tells the job alone; where Slurm then does nothing, the job asks."""
    monkeypatch.setattr(trial, "PATIENCE", 0.1)
    asked = []

    def handler(*_):
        asked.append((tmp_path / "saved").exists())
        raise InterruptedError

    signal.signal(signal.SIGUSR2, handler)

    def interrupt():
        appears(tmp_path / "parent")
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=interrupt).start()
    with pytest.raises(InterruptedError):
        TrialJob(tmp_path, ["-c", STOPS])()
    assert asked == [True]


def test_the_process_does_not_hear_submitit_s_signal(tmp_path):
    code = "import os, signal; os.kill(os.getpid(), signal.SIGUSR2); raise SystemExit(4)"
    with pytest.raises(RuntimeError, match="failed with status 4"):
        TrialJob(tmp_path, ["-c", code])()


def test_a_job_is_pickled_without_its_process(tmp_path):
    resolved = TrialJob(tmp_path, ["-c", STOPS])
    resolved.process = object()
    again = pickle.loads(pickle.dumps(resolved))
    assert (again.folder, again.program, again.process) == (resolved.folder, resolved.program, None)


@pytest.mark.slow
def test_submitit_starts_a_pre_empted_trial_again(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    own, _, _ = sweep._split_arguments(["--cluster=local", "--jobs=1", "--hours=1"])
    folder = tmp_path / "trial0"
    folder.mkdir()

    def interrupt():
        appears(folder / "parent")
        time.sleep(0.2)
        os.kill(int((folder / "parent").read_text()), signal.SIGUSR2)

    threading.Thread(target=interrupt).start()
    sweep._run([TrialJob(folder, ["-c", STOPS])], own, tmp_path, "test")
    assert json.loads((folder / SCORE).read_text())["step"] == 7
    logs = "".join(path.read_text() for path in (tmp_path / "jobs").glob("*.out"))
    assert logs.count("Starting with") == 2
    assert "Requeued job" in logs


@pytest.mark.weekly
def test_a_sweep_scores_its_trials_and_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    asked = []

    def run(jobs, own, folder, name):
        asked.append([resolved.folder.name for resolved in jobs])
        for resolved in jobs[:1]:
            assert trial.main([str(resolved.folder)]) == 0

    monkeypatch.setattr(sweep, "_run", run)
    single = Placement(make_mesh("data:1", jax.devices()[:1]))
    monkeypatch.setattr(ResolvedRun, "placement", lambda resolved: single)
    words = [PAGE, "learning_rate=0.01,0.1", "--method=grid", f"--out={tmp_path}", *FLAGS]
    assert sweep.main(words) == 1
    assert "Trials 1 failed; the same command tries them again." in capsys.readouterr().out
    assert sweep.main(words) == 0
    assert asked == [["trial0", "trial1"], ["trial1"]]
    table = capsys.readouterr().out.partition("rank")[2].splitlines()
    assert table[0].split() == ["trial", "accuracy", "step", "learning_rate"]
    assert sorted(line.split()[1] for line in table[1:3]) == ["0", "1"]
    lines = [json.loads(line) for line in (tmp_path / "trials.jsonl").read_text().splitlines()]
    assert [line["values"] for line in lines] == [{"learning_rate": 0.01}, {"learning_rate": 0.1}]
    told = json.loads((tmp_path / "trial1" / SCORE).read_text())
    assert told["curve"][0] == [3, 6]
    assert lines[1]["score"] == told["score"] == max(told["curve"][1])
    assert (tmp_path / "report.html").exists()
    assert not list(tmp_path.glob("trial*/**/result.json")), "no trial was tested"


def test_a_sweep_whose_trials_have_scores_ends_with_its_table_and_report(tmp_path, capsys):
    for k, score in enumerate((0.25, 0.5)):
        (tmp_path / f"trial{k}").mkdir()
        told = {"score": score, "step": 6, "curve": [[3, 6], [score, score]]}
        (tmp_path / f"trial{k}" / SCORE).write_text(json.dumps(told))
    assert sweep.main([PAGE, "learning_rate=0.01,0.1", "--method=grid", f"--out={tmp_path}", *FLAGS]) == 0
    rows = [line.split() for line in capsys.readouterr().out.partition("rank")[2].splitlines()[1:3]]
    assert [row[1] for row in rows] == ["1", "0"], "the larger accuracy is first"
    assert "trial" in (tmp_path / "report.html").read_text()


@pytest.mark.slow
def test_a_grid_of_two_trials_trains_on_this_machine(tmp_path):
    """In a process of its own, as submitit closes the handlers of others' logs where it is imported."""
    words = [PAGE, "model.hidden=4,8", "--method=grid", "--cluster=local", "--jobs=2", f"--out={tmp_path}"]
    words += [flag for flag in FLAGS if "hidden" not in flag]
    command = [sys.executable, "-m", "launch.slurm.sweep", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    scores = [json.loads((tmp_path / f"trial{k}" / SCORE).read_text())["score"] for k in (0, 1)]
    table = done.stdout.partition("rank")[2].splitlines()[1:3]
    assert [float(line.split()[2]) for line in table] == pytest.approx(sorted(scores, reverse=True), abs=1e-4)
    assert (tmp_path / "report.html").exists()


def test_a_dry_run_prints_the_command_of_each_trial(tmp_path, capsys):
    words = ["learning_rate=0.01,0.1", "--method=grid", "--dry-run", f"--out={tmp_path / 'out'}", "--model=mlp"]
    assert sweep.main([PAGE, *words]) == 0
    command = f"python -m {PAGE} --model=mlp --learning_rate="
    assert capsys.readouterr().out.splitlines() == [command + "0.01", command + "0.1"]
    assert not (tmp_path / "out").exists()


def test_draws_are_those_of_the_search():
    words = ["a=uniform:0:1", "--method=random", "--trials=3", "--search_seed=5", "--model=mlp"]
    own, axes, rest = sweep._split_arguments(words)
    assert (axes, rest) == (["a=uniform:0:1"], ["--model=mlp"])
    space = sweep.parse_space(axes)
    assert sweep._draw(own, space) == sweep.spaces.random(space, 3, 5)
    own, _, _ = sweep._split_arguments(["--method=grid", "--grid_points=4"])
    assert [row["a"] for row in sweep._draw(own, space)] == pytest.approx([0, 1 / 3, 2 / 3, 1])


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["no_such=1,2"], 2, "no_such: unknown; allowed"),
        (["learning_rate=1,2", "--method=pbt"], 2, "method"),
        (["learning_rate=1,2", "--trials=0"], 2, "trials"),
        (["learning_rate=log:-1:1"], 1, "not positive; allowed: positive ends"),
        (["epochs=-1,2", "--method=grid"], 2, "epochs"),
    ],
)
def test_bad_words_are_known_before_a_job_is_submitted(words, status, said, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sweep, "_run", lambda *_: pytest.fail("a resolved was submitted"))
    assert sweep.main([PAGE, *words, "--model=mlp", f"--out={tmp_path}"]) == status
    assert said in capsys.readouterr().err
