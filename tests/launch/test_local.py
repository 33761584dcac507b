"""Several processes on one machine: who they are told to be, what their ends mean, and when they start again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launch.local import describe, environment, main, verdict

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("statuses", "status"),
    [
        ([0, 0], 0),
        ([75, 75], 75),
        ([0, 75], 75),
        ([-9, 134], 75),  # one killed, the other aborted: both can go on
        ([-9, -6], 75),
        ([143, 0], 75),
        ([134, 1], 1),  # the error is the reason, the abort its consequence
        ([2, -6], 2),
        ([-11, 0], 139),  # a segmentation fault comes again
    ],
)
def test_the_verdict_follows_from_the_exit_statuses(statuses, status):
    assert verdict(statuses) == status


def test_in_words():
    assert describe(-9) == "ended by SIGKILL"
    assert describe(134) == "ended by SIGABRT"
    assert describe(75) == "preempted, saved"
    assert describe(0) == "finished"
    assert describe(2) == "a wrong flag (2)"
    assert describe(1) == "failed with status 1"


def test_the_environment_of_a_process(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=8 --xla_dump_to=d")
    mine = environment(1, 3, 4711, 2)
    assert (mine["JAX_PROCESS_ID"], mine["JAX_NUM_PROCESSES"]) == ("1", "3")
    assert mine["JAX_COORDINATOR_ADDRESS"] == "localhost:4711"
    assert mine["XLA_FLAGS"].split() == ["--xla_dump_to=d", "--xla_force_host_platform_device_count=2"]
    assert mine["JAX_PLATFORMS"] == "cpu"
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    assert environment(1, 3, 4711, None)["CUDA_VISIBLE_DEVICES"] == "1", "a GPU each"


PROCESS = """
import json, os, pathlib, signal, sys, time
folder, index = pathlib.Path(sys.argv[1]), os.environ["JAX_PROCESS_ID"]
attempt = len(list(folder.glob(f"{index}-*")))
told = [os.environ["JAX_NUM_PROCESSES"], os.environ["JAX_COORDINATOR_ADDRESS"]]
(folder / f"{index}-{attempt}").write_text(json.dumps(told))
print("hello")
"""


def start(tmp_path, code, *options):
    (tmp_path / "process.py").write_text(PROCESS + code)
    return main([*options, "--", str(tmp_path / "process.py"), str(tmp_path)])


def test_each_is_told_who_it_is_and_its_lines_carry_its_number(tmp_path, capfd):
    assert start(tmp_path, "", "--processes=3") == 0
    told = [json.loads((tmp_path / f"{i}-0").read_text()) for i in range(3)]
    assert {count for count, _ in told} == {"3"}
    assert len({address for _, address in told}) == 1
    assert sorted(capfd.readouterr().out.splitlines()) == ["[0] hello", "[1] hello", "[2] hello"]


def test_a_killed_one_is_named_and_all_start_again(tmp_path, capfd):
    code = 'if index == "1" and attempt == 0: os.kill(os.getpid(), signal.SIGKILL)\nif attempt == 0: time.sleep(60)\n'
    began = time.monotonic()
    assert start(tmp_path, code, "--restarts=1", "--grace=0.5") == 0
    assert time.monotonic() - began < 30, "the one that was left is not waited for"
    out = capfd.readouterr().out
    assert "[launch] process 1 ended by SIGKILL" in out
    assert "[launch] starting again (1 of 1)" in out
    assert {p.name for p in tmp_path.glob("?-?")} == {"0-0", "1-0", "0-1", "1-1"}


def test_an_error_of_its_own_is_not_tried_again(tmp_path, capfd):
    assert start(tmp_path, 'if index == "0": sys.exit(3)\ntime.sleep(60)\n', "--restarts=5", "--grace=0.2") == 3
    out = capfd.readouterr().out
    assert "process 0 failed with status 3" in out
    assert "starting again" not in out
    assert not (tmp_path / "0-1").exists()


def test_a_failure_after_a_killed_process_is_retried(tmp_path):
    code = (
        'if attempt: sys.exit(0)\nif index == "1": os.kill(os.getpid(), signal.SIGKILL)\ntime.sleep(1)\nsys.exit(1)\n'
    )
    assert start(tmp_path, code, "--restarts=1") == 0
    assert (tmp_path / "0-1").exists()


def test_restarts_come_to_an_end(tmp_path):
    assert start(tmp_path, "sys.exit(75)", "--restarts=2") == 75
    assert {p.name for p in tmp_path.glob("0-?")} == {"0-0", "0-1", "0-2"}


def test_a_signal_is_passed_on_and_ends_the_restarts(tmp_path):
    code = (
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))\n(folder / f'ready{index}').touch()\ntime.sleep(60)\n"
    )
    (tmp_path / "process.py").write_text(PROCESS + code)
    command = [sys.executable, "-m", "launch.local", "--restarts=3", "--", str(tmp_path / "process.py"), str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, env=os.environ)
    began = time.monotonic()
    while not all((tmp_path / f"ready{i}").exists() for i in range(2)) and time.monotonic() - began < 30:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 75
    assert not (tmp_path / "0-1").exists()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--processes=0", "--", "-c", "0"], "--processes=0: too small; allowed: at least 1"),
        (["--devices=0", "--", "-c", "0"], "--devices=0: too small; allowed: at least 1"),
        (["--grace=nan", "--", "-c", "0"], "--grace=nan: no time; allowed: seconds, finite and at least 0"),
        (["--grace=nan", "page.py", "--rate=1", "--rate=2"], "--grace=nan: no time"),  # the others are the command's
        (["--restarts=1", "--restarts=2", "--", "-c", "0"], "--restarts=2: given twice, as --restarts=1 before"),
        ([], "nothing to run"),
    ],
)
def test_bad_options(options, error, capsys):
    with pytest.raises(SystemExit) as stop:
        main(options)
    assert stop.value.code == 2
    assert error in capsys.readouterr().err
