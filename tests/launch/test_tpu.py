"""The TPU script: the commands that it prints, and its course where a script plays gcloud."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "launch" / "tpu" / "pod.sh"
WORDS = ["digits", "--zone=z", "--type=v6e-16", "--version=v"]
PAGE = ["--", "experiments.classification.supervised", "--runs=/mnt/runs", "--label=a 'b'"]

GCLOUD = """#!/usr/bin/env bash
# plays gcloud: `states` are what describe says one after the other, `statuses` the workers' of each attempt
echo "$*" >> "$FAKE/calls"
take() { head -n 1 "$FAKE/$1"; [[ $(wc -l < "$FAKE/$1") -le 1 ]] || sed -i 1d "$FAKE/$1"; }
case "$*" in
  *describe*) state=$(take states); [[ $state != NONE ]] && echo "$state" || exit 1 ;;
  *create*) exit "${CREATE:-0}" ;;
  *"tpu-vm ssh"*venv*pip*) exit "${PREPARE:-0}" ;;
  *"tpu-vm ssh"*) for status in $(take statuses); do echo "worker says [status] $status"; done; exit 1 ;;
esac
"""


def run(tmp_path, words, states=(), statuses=(), **environment):
    """(status, what was called, printed)."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "gcloud").write_text(GCLOUD)
    (tmp_path / "bin" / "gcloud").chmod(0o755)
    (tmp_path / "states").write_text("".join(f"{state}\n" for state in states))
    (tmp_path / "statuses").write_text("".join(f"{line}\n" for line in statuses))
    (tmp_path / "calls").touch()
    environment = {
        **os.environ,
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "FAKE": str(tmp_path),
        "POLL": "0",
        **environment,
    }
    done = subprocess.run(
        ["bash", SCRIPT, *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    calls = [line for line in (tmp_path / "calls").read_text().splitlines() if "describe" not in line]
    verbs = [re.search(r"create|delete|scp|pip|-m experiments", line)[0] for line in calls]
    return done.returncode, verbs, done.stdout + done.stderr


def test_a_dry_run_prints_the_whole_course_and_calls_nothing(tmp_path):
    status, calls, out = run(tmp_path, [*WORDS, "--spot", "--project=p", "--setup=mount x", "--dry-run", *PAGE])
    assert (status, calls) == (0, [])
    create, archive, scp, install, train, delete = out.splitlines()
    assert create.split() == shlex.split(
        "gcloud compute tpus queued-resources create digits --node-id=digits --accelerator-type=v6e-16 "
        "--runtime-version=v --spot --zone=z --project=p"
    )
    assert archive.startswith("git archive")
    assert "tpu-vm scp" in scp
    assert "--worker=all" in scp
    assert "mount x && mkdir -p dlcore" in install
    assert "--worker=all" in train
    assert "--distributed=on" in train
    assert delete.split()[:6] == ["gcloud", "compute", "tpus", "queued-resources", "delete", "digits"]
    # What the workers' shell gets is what was given here.
    command = subprocess.run(
        ["bash", "-c", f"printf '%s\\n' {train}"], capture_output=True, text=True, check=True
    ).stdout.split("--command=")[1]
    words = re.search(r"-m (.*?)--distributed", command)[1]
    asked = subprocess.run(["bash", "-c", f"printf '%s\\n' {words}"], capture_output=True, text=True, check=True)
    assert asked.stdout.splitlines() == PAGE[1:]


@pytest.mark.slow
def test_it_waits_runs_and_deletes(tmp_path):
    states = ["NONE", "WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"]
    status, calls, out = run(tmp_path, [*WORDS, *PAGE], states, ["0 0 0 0"])
    assert (status, calls) == (0, ["create", "scp", "pip", "-m experiments", "delete"])
    assert "the request is PROVISIONING" in out


@pytest.mark.slow
def test_preempted_and_killed_runs_restart_on_the_same_slice(tmp_path):
    status, calls, out = run(tmp_path, [*WORDS, *PAGE], ["ACTIVE"], ["75 75", "134 137", "0 0"])
    assert (status, calls) == (0, ["scp", "pip", *["-m experiments"] * 3, "delete"])
    assert "attempt 2: the workers ended with 134 137" in out


@pytest.mark.slow
def test_an_error_of_one_worker_ends_it(tmp_path):
    status, calls, _ = run(tmp_path, [*WORDS, "--keep", *PAGE], ["ACTIVE"], ["134 1 75", "0 0"])
    assert (status, calls) == (1, ["scp", "pip", "-m experiments"])


@pytest.mark.slow
def test_a_slice_that_was_taken_away_is_asked_for_again(tmp_path):
    states = ["ACTIVE", "SUSPENDED", "SUSPENDED", "NONE", "ACTIVE"]
    status, calls, _ = run(tmp_path, [*WORDS, *PAGE], states, ["", "0 0"])
    again = ["delete", "create", "scp", "pip", "-m experiments", "delete"]
    assert (status, calls) == (0, ["scp", "pip", "-m experiments", *again])


@pytest.mark.slow
def test_restarts_have_a_limit(tmp_path):
    status, calls, out = run(tmp_path, [*WORDS, "--restarts=2", *PAGE], ["ACTIVE"], ["75"])
    assert (status, calls.count("-m experiments")) == (75, 3)
    assert "it has started again 2 times" in out


@pytest.mark.slow(unless=["environment0-calls0"])
@pytest.mark.parametrize(
    ("environment", "calls"), [({"CREATE": "1"}, ["create"]), ({"PREPARE": "1"}, ["create", "scp", "pip", "delete"])]
)
def test_a_failed_creation_or_preparation_is_an_error(tmp_path, environment, calls):
    found = run(tmp_path, [*WORDS, *PAGE], ["NONE", "ACTIVE"], ["0"], **environment)
    assert found[:2] == (1, calls)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (WORDS[:3] + PAGE, "version is missing"),
        (["Digits", *WORDS[1:], *PAGE], "NAME=Digits"),
        ([*WORDS, "--zones=z", *PAGE], "unknown option --zones=z"),
        ([*WORDS, "--restarts=x", *PAGE], "--restarts=x"),
        (WORDS, "nothing to run"),
    ],
)
def test_bad_words_are_named(tmp_path, words, said):
    status, calls, out = run(tmp_path, words)
    assert (status, calls) == (2, [])
    assert said in out


def test_the_script_is_shell():
    subprocess.run(["bash", "-n", SCRIPT], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", SCRIPT], check=True)
