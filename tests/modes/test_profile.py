"""--mode=profile: a trace, a table of the longest operations and a report, of any experiment."""

import json
from types import SimpleNamespace

import jax
import pytest

from dlcore.cost.profiled_operations import HotOperation
from dlcore.main import run
from dlcore.modes import profile as module
from experiments.classification import supervised
from experiments.self_supervised import moco


@pytest.mark.weekly
@pytest.mark.parametrize(
    ("experiment", "words"), [(supervised.experiment, ["--model=mlp", "--mesh=data:8"]), (moco.experiment, ["--smoke"])]
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


@pytest.mark.slow
def test_a_step_takes_its_share_of_the_traced_time(tmp_path, capsys, monkeypatch):
    """Compiled from 1 to 2 s by the clock, and two steps from 4 to 8 s: 2 s each; an earlier trace is removed."""
    clock = iter([1.0, 2.0, 4.0, 8.0])
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    folder = tmp_path / "profile"
    (folder / "trace" / "old").mkdir(parents=True)
    words = ["--model=mlp", "--model.hidden=8", "--batch_size=8", "--mode=profile", "--profile_steps=2"]
    assert run(supervised.experiment, [*words, f"--run_dir={tmp_path}"]) == 0
    content = json.loads((folder / "profile.json").read_text())
    assert (content["step_seconds"], content["compile_seconds"]) == (2, 1)
    assert not (folder / "trace" / "old").exists(), "it would be counted, too"
    head, *lines = capsys.readouterr().out.splitlines()
    rows = content["operations"]
    assert head.split()[:3] == ["operation", "module", "phase"]
    assert [line.split()[0] for line in lines[:10]] == [row["name"] for row in rows[:10]]
    said = f"2000.00 ms a step under the profiler, compiled in 1.0 s; {len(rows)} operations, forward "
    assert lines[min(10, len(rows))].startswith(said)
    share = {phase: sum(row["share"] for row in rows if row["phase"] == phase) for phase in ("forward", "backward")}
    assert f"forward {100 * share['forward']:.0f} %, backward {100 * share['backward']:.0f} %" in lines[10]
    assert "The 10 longest operations" in (folder / "profile.html").read_text()


def operation(name, seconds, share, **fields):
    return HotOperation(
        **{
            **{"name": name, "opcode": "dot", "module": "net/head", "phase": "forward", "seconds": seconds},
            **{"share": share, "flops": 0.0, "bytes": 0, "bound": "compute", "least_seconds": 0.0, **fields},
        }
    )


def test_a_row_shows_milliseconds_work_and_the_part_of_the_roofline():
    """At least 0.5 ms of the 2 ms that it took: 25 % of the roof. 3e9 FLOPs, and 1536 bytes are 1.5 KiB."""
    row = operation("dot.1", 2e-3, 0.125, flops=3e9, bytes=1536, least_seconds=5e-4)
    assert module._row(row) == {
        "operation": "dot.1",
        "module": "net/head",
        "phase": "forward",
        "ms per step": "2.000",
        "share": "12.5 %",
        "GFLOPs": "3.000",
        "moves": "1.5 KiB",
        "of the roof": "25 % (compute)",
    }
    unknown = module._row(operation("copy", 2e-3, 0.1, module=""))
    assert [unknown[name] for name in ("module", "GFLOPs", "moves", "of the roof")] == ["–"] * 4
    assert module._row(operation("copy", 0.0, 0.0, least_seconds=1e-3))["of the roof"] == "–"


def test_several_processes_are_refused(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(ValueError, match=r"^--mode=profile: there are 2 processes; allowed: one process"):
        module.profile(None)
