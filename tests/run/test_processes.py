"""Several processes: who a process is, that two of them learn what one does, and that they stop and go on together."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.experimental import multihost_utils

from dlcore.main import run
from dlcore.run.checkpoint import Checkpoints
from dlcore.run.metrics_writer import read_metrics
from dlcore.run.processes import Membership, agree, barrier, join_processes, leave, membership, on_host, same
from experiments.bench.compare_runs import differences, final_arrays
from experiments.classification import supervised
from launch import local

ROOT = Path(__file__).parents[2]
SLURM = {"SLURM_JOB_ID": "8193", "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1", "SLURM_STEP_NODELIST": "n[1-2]"}
OURS = {"JAX_COORDINATOR_ADDRESS": "host:1234", "JAX_NUM_PROCESSES": "4", "JAX_PROCESS_ID": "3"}


def test_alone_where_nothing_says_otherwise():
    assert membership({}) is None
    assert membership({"JAX_COORDINATOR_ADDRESS": "host:1"}) is None, "jax's own variable alone says not who this is"
    assert membership({**OURS, "JAX_NUM_PROCESSES": "1", "JAX_PROCESS_ID": "0"}) is None
    assert membership({**SLURM, "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}) is None
    shell = {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "2", "SLURM_PROCID": "0", "SLURM_JOB_NODELIST": "n[1-2]"}
    assert membership(shell) is None, "the batch script itself is no step"


def test_who_the_launcher_says(monkeypatch):
    assert membership(OURS) == Membership("host:1234", 4, 3)
    asked = []

    def scontrol(command, **options):
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, "n1\nn2\n", "")

    monkeypatch.setattr(subprocess, "run", scontrol)
    assert membership(SLURM) == Membership("n1:61441", 2, 1), "61440 + 8193 % 4096"
    assert asked == [["scontrol", "show", "hostnames", "n[1-2]"]]
    assert membership({**SLURM, "JAX_COORDINATOR_ADDRESS": "n9:7"}) == Membership("n9:7", 2, 1)
    assert membership({**SLURM, **OURS}) == Membership("host:1234", 4, 3), "ours come first"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"JAX_PROCESS_ID": None}, "JAX_PROCESS_ID is not set"),
        ({"JAX_NUM_PROCESSES": "two"}, "JAX_NUM_PROCESSES=two: not a number; allowed: an integer"),
        ({"JAX_PROCESS_ID": "4"}, r"JAX_PROCESS_ID=4: out of range; allowed: \[0, 4\)"),
        ({"JAX_PROCESS_ID": "-1"}, "JAX_PROCESS_ID=-1: out of range"),
        ({"JAX_COORDINATOR_ADDRESS": "host"}, "JAX_COORDINATOR_ADDRESS=host: no port; allowed: host:port"),
    ],
)
def test_contradictions_are_named(change, message):
    environ = {k: v for k, v in {**OURS, **change}.items() if v is not None}
    with pytest.raises(ValueError, match=message):
        membership(environ)


def test_slurm_without_scontrol_says_what_to_set(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ValueError, match="set JAX_COORDINATOR_ADDRESS=host:port"):
        membership(SLURM)


def test_alone_nothing_changes(monkeypatch):
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "nowhere:1")
    monkeypatch.setenv("JAX_NUM_PROCESSES", "2")
    monkeypatch.setenv("JAX_PROCESS_ID", "0")
    with join_processes("off"):
        assert agree(True)
        assert not agree(False)
        assert same(7) == 7
        assert same(None) is None
        tree = {"a": np.ones(2)}
        assert on_host(tree) is tree


STEPS = 60


class Left(BaseException):
    """An exit, which a test can catch."""


@pytest.fixture
def several(monkeypatch):
    """Pretend to be process 3 of 4, whose exits raise `Left`; return the calls of `jax.distributed`."""
    asked = []

    def leave(status):
        raise Left(status)

    for name, value in OURS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(jax.distributed, "initialize", lambda **options: asked.append(options))
    monkeypatch.setattr(jax.distributed, "shutdown", lambda: asked.append("shutdown"))
    monkeypatch.setattr(jax, "process_count", lambda: 4)
    monkeypatch.setattr(os, "_exit", leave)
    return asked


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ("DEADLINE_EXCEEDED: Barrier timed out. Barrier_id: save_finalize", 134),
        ("UNAVAILABLE: failed to connect to all addresses", 134),
        ("RESOURCE_EXHAUSTED: Out of memory", 1),
    ],
)
def test_a_lost_process_is_no_error_of_the_run(several, tmp_path, capsys, message, status):
    """orbax waits for the others in a barrier, and may notice their end before the heartbeat does."""

    class Manager:
        def wait_until_finished(self):
            raise jax.errors.JaxRuntimeError(message)

    store = Checkpoints(tmp_path, read_only=True)
    store._manager = Manager()
    with pytest.raises(Left) as left, join_processes():
        store.wait()
    assert left.value.args == (status,)
    assert ("another process of the run is gone (" in capsys.readouterr().err) is (status == 134)


def test_a_process_joins_as_the_launcher_says_and_leaves_in_order(several, capsys):
    with join_processes("auto", 0.5, 20.5):
        assert len(several) == 1
    assert several == [
        {
            "coordinator_address": "host:1234", "num_processes": 4, "process_id": 3,
            "cluster_detection_method": "deactivate", "initialization_timeout": 20, "heartbeat_timeout_seconds": 1,
            "shutdown_timeout_seconds": 3600,
        },
        "shutdown",
    ]  # fmt: skip
    assert capsys.readouterr().err == "process 3 of 4 joins at host:1234, for at most 20.5 s\n"
    with join_processes("on", heartbeat_seconds=7):
        pass
    assert (several[2]["heartbeat_timeout_seconds"], several[2]["initialization_timeout"]) == (7, 300)


def test_processes_agree_where_all_do_and_take_the_number_of_the_first(several, monkeypatch):
    """The number -1 stands for None on its way."""
    sent = []
    for others, mine, agreed in (([1, 0], True, False), ([1, 1], True, True), ([1, 1], False, False)):
        monkeypatch.setattr(multihost_utils, "process_allgather", lambda x, others=others: np.array([*others, x]))
        assert agree(mine) is agreed
    for first, received in ((7, 7), (0, 0), (-1, None)):
        monkeypatch.setattr(multihost_utils, "broadcast_one_to_all", lambda x, y=first: sent.append(int(x)) or y)
        assert same(5) == received
    assert same(None) is None
    assert sent == [5, 5, 5, -1]
    names = []
    monkeypatch.setattr(multihost_utils, "sync_global_devices", names.append)
    barrier("end")
    monkeypatch.setattr(jax, "process_count", lambda: 1)
    barrier("alone")
    leave(3)
    assert names == ["end"]


def test_without_a_launcher_what_to_set_is_said(several, monkeypatch):
    for name in OURS:
        monkeypatch.delenv(name)
    with join_processes("auto"):
        assert several == []

    def refuse(**options):
        raise ValueError("no cluster")

    monkeypatch.setattr(jax.distributed, "initialize", refuse)
    message = r"^distributed='on': no launcher detected \(no cluster\); allowed: set JAX_COORDINATOR_ADDRESS, JAX_NUM_"
    with pytest.raises(ValueError, match=message), join_processes("on"):
        pass


@pytest.mark.parametrize(("code", "left"), [(2, 2), (0, 0), ("text", 1), (None, 1)])
def test_an_exit_leaves_the_others_at_once(several, code, left):
    with pytest.raises(Left) as caught, join_processes():
        raise SystemExit(code)
    assert caught.value.args == (left,)
    assert several[1:] == []


def test_a_preempted_process_leaves_in_order_and_an_error_with_1(several, capsys):
    with pytest.raises(SystemExit) as caught, join_processes():
        raise SystemExit(75)
    assert (caught.value.code, several[1:]) == (75, ["shutdown"])
    with pytest.raises(Left) as caught, join_processes():
        raise ValueError("odd")
    assert caught.value.args == (1,)
    assert several.count("shutdown") == 1, "only the preempted process waits for the others"
    assert "ValueError: odd" in capsys.readouterr().err


def words(folder, **more):
    flags = {
        "model": "mlp",
        "steps": STEPS,
        "batch_size": 32,
        "eval_batch_size": 20,
        "log_every": 1,
        "eval_every": 25,
        "optimizer": "sgd",
        "augment": "none",
        "sharding": "fsdp",
        "select": "last",
        "checkpoint_seconds": 0,
        "checkpoint_steps": 10,
        "run_dir": folder,
        **more,
    }
    return [f"--{k}={v}" for k, v in flags.items()]


def two(folder, **more):
    return ["--processes=2", "--devices=4", "--", "-m", supervised.__name__, *words(folder, **more)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes") / "two"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        assert local.main(two(folder)) == 0
    return folder


@pytest.mark.slow
def test_two_processes_of_four_devices_learn_what_one_of_eight_does(whole, tmp_path):
    assert run(supervised.experiment, [*words(tmp_path / "one"), "--progress=false"]) == 0
    left, right = read_metrics(tmp_path / "one"), read_metrics(whole)
    assert [(row["step"], row["split"]) for row in left] == [(row["step"], row["split"]) for row in right]
    for a, b in zip(left, right, strict=True):
        assert a["accuracy"] == b["accuracy"], "counts are exact, the tail of every split included"
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-6)
    one, both = final_arrays(tmp_path / "one"), final_arrays(whole)
    assert set(one) == set(both)
    for name in one:
        np.testing.assert_allclose(both[name], one[name], rtol=1e-5, atol=1e-6, err_msg=name)
    assert (whole / "report.html").exists()


@pytest.mark.weekly
def test_all_stop_after_the_same_step_and_come_back_byte_for_byte(whole, tmp_path):
    command = [sys.executable, "-m", "launch.local", *two(tmp_path / "cut")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    log, began = tmp_path / "cut" / "metrics.jsonl", time.monotonic()
    while process.poll() is None and not (log.exists() and log.stat().st_size) and time.monotonic() - began < 120:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    out = process.communicate(timeout=120)[0]
    assert process.returncode == 75, out
    stopped = [line for line in out.splitlines() if "stopped by a signal after step" in line]
    assert len(stopped) == 2, out
    assert len({line.split("] ")[1] for line in stopped}) == 1, "at the same step"
    assert len(read_metrics(tmp_path / "cut")) < len(read_metrics(whole))
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False, timeout=200).returncode == 0
    assert differences(whole, tmp_path / "cut") == []


@pytest.mark.weekly
def test_an_error_ends_with_its_own_status_and_not_with_an_abort(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert local.main(two(tmp_path / "odd", batch_size=33)) == 1
    assert "batch_size=33: invalid; allowed: a multiple of process_count 2" in capfd.readouterr().out
