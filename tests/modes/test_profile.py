"""--mode=profile: a trace, a table of the longest operations and a report, of any experiment."""

import json

import pytest

from dlcore.main import run
from experiments.classification import supervised
from experiments.self_supervised import moco


@pytest.mark.weekly
@pytest.mark.parametrize(
    ("experiment", "words"),
    [(supervised.experiment, ["--model=mlp", "--mesh=data:8"]), (moco.experiment, ["--smoke"])],
)
def test_an_experiment_is_profiled(experiment, words, tmp_path, capsys):
    assert run(experiment, [*words, "--mode=profile", "--profile_steps=2", f"--run_dir={tmp_path}"]) == 0
    out = capsys.readouterr().out
    content = json.loads((tmp_path / "profile" / "profile.json").read_text())
    rows = content["operations"]
    assert sum(row["share"] for row in rows) == pytest.approx(1)
    assert [row["seconds"] for row in rows] == sorted((row["seconds"] for row in rows), reverse=True)
    assert sum(row["flops"] for row in rows) > 0
    assert {row["phase"] for row in rows} >= {"forward", "backward"}
    assert any(row["module"] for row in rows)
    lines = out.splitlines()
    assert lines[0].split()[:3] == ["operation", "module", "phase"]
    assert lines[1].split()[0] == rows[0]["name"]
    assert len([line for line in lines if "%" in line and " ms a step" not in line]) == min(10, len(rows))
    assert list((tmp_path / "profile" / "trace").rglob("*.trace.json.gz"))
    assert "longest operations" in (tmp_path / "profile" / "profile.html").read_text()
    assert not (tmp_path / "checkpoints").exists(), "nothing is trained"
