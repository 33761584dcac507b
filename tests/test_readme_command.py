"""The README's commands: the first as it stands, and each after what the README installs for it."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from dlcore.experiment import Experiment
from dlcore.extras import EXTRAS
from experiments import find_experiment

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


def blocks_of_commands(text: str) -> list[list[str]]:
    """The commands of each shell block, and of each `command && command` of the text, as a reader types them."""
    found = re.findall(r"^```bash\n(.*?)^```|(?<!`)`([^`\n]+ && [^`\n]+)`", text, re.MULTILINE | re.DOTALL)
    lines = [re.sub(r"  +#.*", "", block or inline) for block, inline in found]
    return [[part.strip() for part in re.split(r"&&|\n", block) if part.strip()] for block in lines]


def installed_extras(command: str) -> set[str]:
    """The extras that a `pip install` of this checkout brings, with those that they include."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    found = re.search(r"pip install -e '?\.(?:\[([\w,-]+)\])?", command)
    names = set(found[1].split(",")) if found and found[1] else set()
    included = [re.match(r"dlcore\[([\w,-]+)\]", package) for name in names for package in extras[name]]
    return names | {name for match in included if match for name in match[1].split(",")}


def needed_extras(command: str) -> set[str]:
    """The extras without which a command ends with "needs PACKAGE"."""
    words = shlex.split(command)
    module = words[2] if words[:2] == ["python", "-m"] else ""
    if module in ("pytest", "sphinx"):
        return {"test" if module == "pytest" else "docs"}
    if not module.startswith("experiments."):
        return set()
    page = find_experiment(module)
    return {EXTRAS[package] for package in (page.packages if isinstance(page, Experiment) else ())}


def commands_without_packages(text: str) -> list[str]:
    """The commands that need more than the first install of the README, and those above them in their own block."""
    missing = []
    for block in blocks_of_commands(text):
        installed: set[str] = set()
        for command in block:
            installed |= installed_extras(command)
            missing += [command] * bool(needed_extras(command) - installed)
    return missing


def test_every_command_stands_below_what_it_needs():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert any("python -m sphinx -W docs site" in block for block in blocks_of_commands(text))
    assert not commands_without_packages(text)


def test_a_command_without_its_packages_is_found():
    command = "python -m experiments.rl.ppo --smoke"
    assert commands_without_packages(f"```bash\n{command}   # try\n```") == [command]
    assert commands_without_packages(f"```bash\npip install -e '.[test]' && {command}\n```") == []  # test includes rl
    apart = f"```bash\npip install -e '.[test]'\n```\n```bash\n{command}\n```"
    assert commands_without_packages(apart) == [command]
    assert commands_without_packages("`pip install -e . && python -m pytest`") == ["python -m pytest"]


@pytest.mark.weekly
@pytest.mark.timeout(7200)  # installs everything, trains briefly, and builds the site
def test_every_command_runs_in_a_fresh_environment(tmp_path):
    """In a virtual environment with exactly what the README installs; the tests, which bring most, come last.

    Trainings are short, the tests are only collected, and commands that need a reader's own folder are left out.
    """
    copy, python = tmp_path / "copy", tmp_path / "venv" / "bin"
    ignored = shutil.ignore_patterns("__pycache__", ".git", ".cache", "generated", "runs", "site", "*.egg-info")
    shutil.copytree(ROOT, copy, ignore=ignored)
    subprocess.run([sys.executable, "-m", "venv", python.parent], check=True)
    outside = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "XLA_FLAGS")
    environment = {name: value for name, value in os.environ.items() if name not in outside}
    environment["PATH"] = f"{python}{os.pathsep}{environment['PATH']}"
    failed = []
    blocks = blocks_of_commands((copy / "README.md").read_text(encoding="utf-8"))
    for block in sorted(blocks, key=lambda commands: "python -m pytest" in commands):
        for command in block:
            if re.search(r"\b(PHOTOS|PATH|RUN|URL|cd|venv)\b", command):
                continue
            ending = {"experiments": " --smoke", "pytest": " --collect-only -q -n 0"}
            module = re.match(r"python -m (\w+)", command)
            shortened = command + (ending.get(module[1], "") if module and "--smoke" not in command else "")
            done = subprocess.run(shortened, shell=True, cwd=copy, env=environment, capture_output=True, text=True)
            if done.returncode:
                failed.append(f"{shortened}: {done.returncode}: {done.stderr[-500:]}")
    assert not failed, "\n".join(failed)
