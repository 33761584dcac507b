"""Each benchmark runs to its end with small settings."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import experiment_names

ROOT = Path(__file__).resolve().parents[2]
BENCHES = {
    entry.name
    for entry in experiment_names()
    if entry.name.startswith("bench.") and "\nexperiment = Study(" in entry.path.read_text(encoding="utf-8")
}


def test_every_benchmark_is_known():
    assert {"bench.matmul", "bench.rl", "bench.zoo"} <= BENCHES


@pytest.mark.weekly
@pytest.mark.parametrize("name", sorted(BENCHES))
def test_a_small_run_ends(name, tmp_path):
    """Each in a process of its own, as users start it: benchmarks set flags of XLA."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("XLA_", "JAX_", "PYTEST"))}
    command = [sys.executable, "-m", f"experiments.{name}", "--smoke", f"--run_dir={tmp_path / 'run'}"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if "not installed" in done.stderr or "No module named 'torch'" in done.stderr:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert (tmp_path / "run" / "report.html").exists()
