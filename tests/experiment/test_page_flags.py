"""The flags of every page: names, defaults, help and the hash that names a run's folder, as they were.

A change of any of these moves the folders of users' runs or breaks their commands. Where it is meant:

    DLCORE_UPDATE_SNAPSHOTS=1 python -m pytest tests/experiment/test_page_flags.py -n 0
"""

import hashlib
import importlib
import json
import os
import pathlib
import re

import pytest

from dlcore.experiment.experiment import Experiment
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import run_folder

ROOT = pathlib.Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "goldens" / "page_flags.json"
PAGES = sorted(
    f"{path.parent.name}.{path.stem}"
    for path in (ROOT / "experiments").glob("*/*.py")
    if path.name != "__init__.py" and path.parent.name not in ("bench", "studies")
)


def read_golden() -> dict:
    return json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}


def help_lines(experiment: Experiment, capsys: pytest.CaptureFixture) -> list[str]:
    """The flags of --help=all with their help, in any order."""
    with pytest.raises(SystemExit):
        resolve(experiment, ["--help=all"])
    printed = capsys.readouterr().out.removeprefix(experiment.doc.strip())
    flags = printed.split("\n  --")[1:]
    return sorted(" ".join(re.split(r"\n(?=\S)|\n\n", flag)[0].split()) for flag in flags)  # without headings


def folder_hash(experiment: Experiment, words: list[str]) -> str:
    return run_folder(experiment.name, resolve(experiment, words).identity, "runs").name


def facts_of(experiment: Experiment, capsys: pytest.CaptureFixture) -> dict:
    lines = help_lines(experiment, capsys)
    return {
        "folder": folder_hash(experiment, []),
        "smoke": folder_hash(experiment, ["--smoke"]),
        "help": hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16],
        "flags": " ".join(line.split("=")[0] for line in lines),
    }


@pytest.mark.parametrize("topic", sorted({name.split(".")[0] for name in PAGES}))
def test_the_flags_of_the_pages_of_a_topic_are_as_they_were(topic, capsys):
    facts = {}
    for name in PAGES:
        if name.split(".")[0] == topic:
            experiment = getattr(importlib.import_module(f"experiments.{name}"), "experiment", None)
            if isinstance(experiment, Experiment):
                facts[name] = facts_of(experiment, capsys)
    if os.environ.get("DLCORE_UPDATE_SNAPSHOTS"):
        GOLDEN.write_text(json.dumps({**read_golden(), **facts}, indent=1, sort_keys=True) + "\n")
    golden = read_golden()
    assert facts == {name: golden.get(name) for name in facts}
