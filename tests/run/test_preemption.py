"""SIGTERM: saved at the next step, status 75, and the same command comes back as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.data.pipeline import Pipeline
from dlcore.data.source import Source
from dlcore.learner import Learner, State, Sum
from dlcore.run import Placement, Saving, fit, make_mesh
from dlcore.run.metrics_writer import read_metrics
from dlcore.run.preemption import REQUEUE, Preempted, Preemption

ROOT = Path(__file__).parents[2]


def counter() -> Learner:
    def update(state, batch):
        params = state.params + batch["x"].mean()
        return state.replace(step=state.step + 1, params=params), {"w": Sum(params)}

    def init(rng, batch):
        return State(jnp.int32(0), rng, jnp.float32(0.0), ())

    return Learner(init, update, lambda s, b: {"w": Sum(s.params)}, lambda s, b: b["x"])


def train(folder, hooks=(), steps=10, **options):
    source = Source({"x": np.random.default_rng(0).normal(size=(32, 2)).astype(np.float32)}, 32)
    placement = Placement(make_mesh("data:1", jax.devices()[:1]))
    options = {"log_every": 1, "saving": Saving(seconds=0), "progress": False, **options}
    return fit(counter(), Pipeline(source, 8), steps=steps, folder=folder, hooks=hooks, placement=placement, **options)


class Signalling:
    """A hook that has this process told to stop after a step."""

    def __init__(self, at, number=signal.SIGTERM):
        self.at, self.number = at, number

    def __call__(self, step, state, metrics):
        if step == self.at:
            os.kill(os.getpid(), self.number)


def test_the_status_is_the_documented_one():
    assert REQUEUE == 75 == os.EX_TEMPFAIL
    error = Preempted(3)
    assert isinstance(error, SystemExit)
    assert (error.code, error.step) == (75, 3)
    assert str(error) == "stopped by a signal after step 3, saved; the same command resumes"


@pytest.mark.covers("SY-13")
def test_a_signal_saves_at_once_and_the_run_comes_back(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    whole = train(tmp_path / "whole")
    with pytest.raises(Preempted) as caught:
        train(tmp_path / "cut", [Signalling(4)])
    assert (caught.value.step, caught.value.code) == (4, 75)
    assert [p.name for p in (tmp_path / "cut" / "checkpoints").iterdir()] == ["4"], "saved, and the save is complete"
    assert not (tmp_path / "cut" / "finished.json").exists()
    assert signal.getsignal(signal.SIGTERM) == before, "the handler is the caller's again"
    resumed = train(tmp_path / "cut")
    assert np.asarray(resumed.state.params).tobytes() == np.asarray(whole.state.params).tobytes()
    assert [row["step"] for row in read_metrics(tmp_path / "cut")] == list(range(1, 11))


def test_without_a_folder_it_still_leaves(tmp_path):
    with pytest.raises(Preempted):
        train(None, [Signalling(2)])


def test_a_signal_at_the_last_step_resumes_to_the_end(tmp_path):
    with pytest.raises(Preempted):
        train(tmp_path, [Signalling(10)])
    result = train(tmp_path)
    assert result.step == 10
    assert json.loads((tmp_path / "finished.json").read_text())["step"] == 10


def test_a_step_that_is_saved_already_is_not_saved_again(tmp_path):
    with pytest.raises(Preempted):
        train(tmp_path, [Signalling(4)], saving=Saving(seconds=0, steps=2))
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["2", "4"]


def test_a_keyboard_interrupt_leaves_as_the_module_says(tmp_path):
    """The module's first line promises SIGINT what it promises SIGTERM."""
    try:
        train(tmp_path, [Signalling(4, signal.SIGINT)])
    except BaseException as error:
        raised = type(error)  # a KeyboardInterrupt that got out of here would end pytest
    assert raised is Preempted
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["4"]


def test_outside_the_main_thread_there_is_no_handler_and_no_failure():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def inside():
        with Preemption() as preemption:
            seen.append((preemption.requested(1), signal.getsignal(signal.SIGTERM) == before))

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert seen == [(False, True)]


@pytest.mark.slow
def test_the_real_page_saves_exits_75_and_the_same_command_finishes(tmp_path):
    command = [
        sys.executable,
        "-m",
        "experiments.classification.supervised",
        "--model=mlp",
        "--batch_size=32",
        "--log_every=1",
        "--checkpoint_seconds=0",
        f"--run_dir={tmp_path / 'run'}",
        "--eval_every=1000",
    ]
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=1"}
    options = {"cwd": ROOT, "env": environment, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([*command, "--steps=1000"], **options)
    log, began = tmp_path / "run" / "metrics.jsonl", time.monotonic()
    while process.poll() is None and not (log.exists() and log.stat().st_size) and time.monotonic() - began < 120:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 75, (out, err)
    (saved,) = [int(p.name) for p in (tmp_path / "run" / "checkpoints").iterdir()]
    assert 1 <= saved < 1000
    assert f"stopped by a signal after step {saved}" in out + err, "it says why it left"
    assert "Traceback" not in err
    done = subprocess.run([*command, "--steps=1000"], check=False, timeout=300, **options)
    assert done.returncode == 0, done.stderr
    assert f"resuming after step {saved}" in done.stdout
    rows = [row["step"] for row in read_metrics(tmp_path / "run") if row["split"] == "train"]
    assert rows == list(range(1, 1001))
    assert (tmp_path / "run" / "report.html").exists()
