"""One process at a time in a run folder: the second waits, then gives up; the dead hold nothing."""

import importlib
import os
import socket
import subprocess
import sys
import threading
import time

import jax.numpy as jnp
import pytest

from dlcore.data.pipeline import Pipeline
from dlcore.data.source import Source
from dlcore.learner import Learner, State, Sum
from dlcore.run import fit
from dlcore.run.lock import FolderInUse, lock_folder

LOCK = importlib.import_module("dlcore.run.lock")

HOLD = """
import fcntl, json, sys, time
file = open(sys.argv[1], "a")
fcntl.flock(file, fcntl.LOCK_EX)
print(json.dumps({"pid": 1, "host": "elsewhere", "since": "noon"}), file=file, flush=True)
print("held", flush=True)
time.sleep(60)
"""


def test_the_second_is_told_who_is_there(tmp_path, capsys):
    with (
        lock_folder(tmp_path),
        pytest.raises(FolderInUse, match=rf"{tmp_path} is in use by process {os.getpid()} on {socket.gethostname()}"),
        lock_folder(tmp_path, wait_seconds=0.05),
    ):
        pytest.fail("two at once")
    assert capsys.readouterr().out.count("waiting up to 0.05 s") == 1
    with lock_folder(tmp_path, wait_seconds=0):
        pass


def test_the_second_waits_for_the_first_to_leave(tmp_path):
    """A run that is requeued while the old one saves."""
    order, held = [], threading.Event()

    def first():
        with lock_folder(tmp_path):
            held.set()
            time.sleep(0.3)
            order.append("first left")

    thread = threading.Thread(target=first)
    thread.start()
    held.wait()
    with lock_folder(tmp_path, wait_seconds=20):
        order.append("second came")
    thread.join()
    assert order == ["first left", "second came"]


def test_a_killed_process_leaves_no_lock(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / ".lock"], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(FolderInUse, match="process 1 on elsewhere since noon"),
            lock_folder(tmp_path, wait_seconds=0),
        ):
            pass
        holder.kill()
        holder.wait()
        with lock_folder(tmp_path, wait_seconds=0):
            pass


def test_a_file_system_without_locks_is_a_warning(tmp_path, monkeypatch, caplog):
    import errno
    import fcntl

    def unsupported(*args):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with lock_folder(tmp_path):
        pass
    assert "cannot be locked here" in caplog.text


def test_fit_touches_nothing_that_another_process_trains(tmp_path, monkeypatch):
    learner = Learner(
        lambda rng, batch: State(jnp.int32(0), rng, {}, ()),
        lambda state, batch: (state.replace(step=state.step + 1), {"n": Sum(jnp.int32(1))}),
        lambda state, batch: {},
        lambda state, batch: batch["index"],
    )
    pipeline = Pipeline(Source.indices(8), 8)
    fit(learner, pipeline, steps=2, folder=tmp_path / "a", progress=False)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.name != ".lock"}
    monkeypatch.setattr(LOCK, "WAIT_SECONDS", 0.0)
    with lock_folder(tmp_path / "a"), pytest.raises(FolderInUse):
        fit(learner, pipeline, steps=4, folder=tmp_path / "a", progress=False)
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.name != ".lock"}
    before.pop(tmp_path / "a")  # the probe of a writable folder
    after.pop(tmp_path / "a")
    assert after == before
    assert fit(learner, pipeline, steps=4, folder=tmp_path / "a", progress=False).step == 4
