"""SIGKILL at random moments changes no byte: the short form of `python -m experiments.bench.kill_resume`."""

import json
import os
import shutil
from pathlib import Path

import pytest

from experiments.bench.compare_runs import differences
from experiments.bench.kill_resume import kill_until_finished


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """(folder, kills done, differences) of one undisturbed and one twice killed run."""
    folder = tmp_path_factory.mktemp("kill")
    if cache := os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        Path(cache).mkdir(parents=True, exist_ok=True)
        (folder / "cache").symlink_to(Path(cache).resolve())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=1")
        done, _, mismatches = kill_until_finished(
            kills=2, steps=40, model="mlp", deterministic=False, seed=10, workdir=folder
        )
    return folder, done, mismatches


@pytest.mark.covers("SY-13")
@pytest.mark.slow
def test_two_kills_change_no_number_and_no_byte(measured):
    folder, done, mismatches = measured
    assert done == 2
    assert mismatches == []
    rows = [json.loads(line) for line in (folder / "killed" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if row["split"] == "train"] == list(range(1, 41))


@pytest.mark.slow
def test_a_difference_would_be_found(measured, tmp_path):
    whole = measured[0] / "whole"
    copy = tmp_path / "copy"
    shutil.copytree(whole, copy)
    assert differences(whole, copy) == []
    log = copy / "metrics.jsonl"
    lines = log.read_text().splitlines()
    row = json.loads(lines[7])
    lines[7] = json.dumps({**row, "loss": row["loss"] * (1 + 1e-15)})
    log.write_text("\n".join(lines) + "\n")
    assert len(differences(whole, copy)) == 1
    log.write_text("\n".join(lines[:7]) + "\n")
    assert "rows" in differences(whole, copy)[-1]
    shutil.copy(whole / "metrics.jsonl", log)
    steps = sorted(int(p.name) for p in (copy / "checkpoints").iterdir() if p.name.isdigit())
    shutil.rmtree(copy / "checkpoints" / str(steps[-1]))
    assert any("leaf" in line for line in differences(whole, copy)), "other parameters"
