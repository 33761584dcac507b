"""Pages of reinforcement learning on more virtual devices than the machine has cores: they come to an end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.weekly
@pytest.mark.parametrize("words", [["rl.recurrent_ppo"], ["rl.ppo", "--num_seeds=2"]], ids=lambda words: words[0])
def test_a_run_on_eight_virtual_devices_ends(tmp_path, words):
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=8", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", f"experiments.{words[0]}", "--smoke", "--noprogress", *words[1:]]
    done = subprocess.run(
        [*command, f"--run_dir={tmp_path / 'run'}"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "report.html").exists()
