"""A step that never returns ends the process; a signal does, even where Python cannot handle it."""

import os
import signal
import subprocess
import sys
import time

import pytest

from dlcore.run import watchdog
from dlcore.run.watchdog import Watchdog

STEP = """
import sys, time
import jax, jax.numpy as jnp, numpy as np
from dlcore.data.pipeline import Pipeline
from dlcore.data.source import Source
from dlcore.learner import Learner, State, Sum
from dlcore.run import Saving, fit, watchdog

watchdog.LEAST, watchdog.INTERVAL = 2.0, 0.1
folder, mode = sys.argv[1:]

def wait(x):  # what XLA calls waits: Python's main thread is inside of XLA
    if mode == "hang" and x == 5:
        print("hangs", flush=True)
        time.sleep(60)
    until = time.monotonic() + 4.0
    while mode == "long" and x == 5 and time.monotonic() < until:
        pass
    return x

def update(state, batch):
    params = jax.pure_callback(wait, jax.ShapeDtypeStruct((), jnp.float32), state.params + 1)
    return state.replace(step=state.step + 1, params=params), {"w": Sum(params)}

def init(rng, batch):
    return State(jnp.int32(0), rng, jnp.float32(0), ())

learner = Learner(init, update, lambda s, b: {}, lambda s, b: b["x"])
data = Pipeline(Source({"x": np.zeros((8, 2), np.float32)}, 8), 8)
saving = Saving(seconds=0, steps=3, grace_seconds=2.0)
print(fit(learner, data, steps=8, folder=folder, log_every=1, saving=saving, progress=False).step)
"""


def start(folder, mode, prefix=""):
    command = [sys.executable, "-c", prefix + STEP, str(folder), mode]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.slow
def test_a_step_that_never_returns_ends_the_run_and_names_what_is_saved(tmp_path):
    process = start(tmp_path, "hang")
    out, err = process.communicate(timeout=100)
    assert process.returncode == 75, (out, err)
    assert "error: step 5 hangs" in err
    assert "saved after step 3; the same command resumes" in err
    assert start(tmp_path, "none").communicate(timeout=100)[0] == "8\n"


FORK = """
import os, signal, time
from dlcore.run.preemption import Preemption

with Preemption(0.5):
    if (child := os.fork()) == 0:
        time.sleep(60)
        os._exit(0)
    time.sleep(0.5)
    os.kill(child, signal.SIGTERM)
    status = os.waitpid(child, 0)[1]
    time.sleep(1)
print(status)
"""


@pytest.mark.slow
def test_a_signal_to_a_forked_worker_is_the_workers_own():
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, f"{signal.SIGTERM.value}\n"), done.stderr


@pytest.mark.slow
def test_a_step_that_computes_for_long_is_none(tmp_path):
    assert start(tmp_path, "long").communicate(timeout=100)[0] == "8\n"


def test_steps_that_were_dispatched_together_may_wait_as_many_times_as_long(monkeypatch):
    """Ten steps of 0.1 s behind one of as long: 1 s is none of ten times 0.1 s alone, nor of a hang."""
    monkeypatch.setattr(watchdog, "LEAST", 0.05)
    monkeypatch.setattr(watchdog, "INTERVAL", 0.01)
    monkeypatch.setattr(watchdog, "TIMES", 3.0)
    hung = []
    monkeypatch.setattr(watchdog.os, "_exit", hung.append)
    with Watchdog(lambda: None) as watched:
        for steps in (1, 10):
            for step in range(steps):
                with watched.waiting(step, returns=False):
                    pass
            with watched.waiting(steps, returns=True):
                time.sleep(0.1 * steps)
    assert not hung


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_step_that_never_returns(tmp_path, number, status):
    process = start(tmp_path, "hang", "from dlcore.run import watchdog\nwatchdog.Watchdog._watch = lambda self: None\n")
    assert process.stdout.readline() == "hangs\n"
    began = time.monotonic()
    os.kill(process.pid, number)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, time.monotonic() - began < 10) == (status, True), err
    assert "what was running did not end within 2 s; saved after step 3; the same command resumes" in err
