"""The README's first command, as it stands there, in its short form."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULE = "experiments.classification.supervised"


def first_command() -> list[str]:
    """The words of the first command in a shell block of README.md that runs the main job."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for block in re.findall(r"^```(?:bash|sh|shell|console)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            for part in re.split(r"&&|;", line.split("  #")[0]):
                words = shlex.split(part.strip().removeprefix("$ "))
                if words[:3] == ["python", "-m", MODULE]:
                    return words
    raise AssertionError(f"README.md shows no `python -m {MODULE}`")


@pytest.mark.slow
def test_it_runs_as_it_stands(tmp_path):
    words = first_command()
    command = [sys.executable, *words[1:], "--smoke", f"--runs={tmp_path}"]
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    (folder,) = (tmp_path / "classification.supervised").iterdir()
    assert f"report: {folder / 'report.html'}" in done.stdout
    assert (folder / "report.html").stat().st_size > 10_000
    line = json.loads((folder / "result.json").read_text())
    assert 0 <= line["value"] <= 1
    again = json.loads((folder / "config.json").read_text())
    assert again["command"].startswith(f"python -m {MODULE} ")
    assert again["settings"]["smoke"] is True
