"""Ctrl-C in a real command: while its modules load, while it compiles, and of a run that has saved."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMAND = ["-m", "experiments.classification.supervised", "--steps=100000", "--checkpoint_steps=10", "--log_every=5"]


def start(folder):
    return subprocess.Popen(
        [sys.executable, "-u", *COMMAND, f"--run_dir={folder}"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # As from a terminal: a shell starts background jobs with SIGINT ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def read_until(run, word):
    for line in run.stdout:
        if word in line:
            return
    raise AssertionError(f"{word!r} never came: {run.stderr.read()}")


def stopped(run):
    """(status, what it said)."""
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=300)
    assert "Traceback" not in err, err
    return run.returncode, [line for line in (out + err).splitlines() if "Ctrl-C" in line or "signal" in line]


@pytest.mark.weekly
def test_ctrl_c_at_every_stage(tmp_path):
    run = start(tmp_path / "run")
    while "jaxlib" not in Path(f"/proc/{run.pid}/maps").read_text():  # the modules of the page are loading
        time.sleep(0.01)
    assert stopped(run) == (130, ["stopped by Ctrl-C"])
    run = start(tmp_path / "run")
    read_until(run, "run folder")  # what follows is compiled
    time.sleep(1)
    assert stopped(run) == (130, ["stopped by Ctrl-C"])
    run = start(tmp_path / "run")
    read_until(run, "step 20/")
    status, lines = stopped(run)
    assert status == 75
    assert len(lines) == 1
    assert lines[0].startswith("stopped by a signal after step ")
    run = start(tmp_path / "run")
    read_until(run, "resuming after step")
    assert stopped(run) == (75, lines), "no step was taken, and the same command resumes"
