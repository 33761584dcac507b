"""--mode=profile: a trace, a table of the longest operations and a report, of any experiment."""

import contextlib
import json
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from dlcore.cost.profiled_operations import HotOperation
from dlcore.experiment.flags import Flags
from dlcore.main import run
from dlcore.modes import profile as module
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


class Steps:
    """A program whose state counts its steps, and that notes what it was called with."""

    def __init__(self, log):
        self.log, self.abstract_state, self.batch = log, np.zeros(2), {"index": np.zeros(1)}
        self.compiled = SimpleNamespace(as_text=lambda: "program text", memory_analysis=lambda: None)

    def init(self, batch, start):
        self.log.append(("init", batch, start))
        return "state"

    def split(self, state):
        return 0 if state == "state" else None

    def compile(self):
        self.log.append("compile")

    def put(self, batch):
        return ("on device", batch)

    def step(self, carry, batch):
        self.log.append(("step", carry, batch))
        return carry + 1


@pytest.fixture
def profiled(monkeypatch, tmp_path):
    """Profile `steps` steps of a fake program on a clock of 1, 2, 4 ... seconds; return its log."""

    def call(rows, steps=2, times=("times",)):
        log, now = [], iter(2.0**k for k in range(9))
        folder = tmp_path / "profile"

        @contextlib.contextmanager
        def trace(path, profiler_options):
            log.append(("trace", profiler_options.python_tracer_level, profiler_options.host_tracer_level))
            (folder / "trace" / "plugins").mkdir(parents=True)
            (folder / "trace" / "plugins" / "host.trace.json.gz").touch()
            yield
            log.append("traced")

        def hot_operations(*args):
            log.append(("hot", *args))
            return rows

        training = SimpleNamespace(start=lambda: ("start", "setup"))
        one = SimpleNamespace(
            folder=tmp_path,
            experiment=SimpleNamespace(name="a.page"),
            flags=Flags({"profile_steps": steps, "seed": 6}),
            training_of=lambda data: training,
            pipelines=lambda data: "pipelines",
            placement=lambda: "placement",
            build=lambda training, batch: log.append(("checked", batch)) or ("learner", "setup"),
        )
        monkeypatch.setattr(jax.profiler, "trace", trace)
        monkeypatch.setattr(module, "load_data", lambda run: "data")
        monkeypatch.setattr(module, "batch_at", lambda pipelines, step: f"batch {step}")
        monkeypatch.setattr(module, "program_for", lambda *args: log.append(("program", *args)) or Steps(log))
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: next(now)))
        monkeypatch.setattr(module, "trace_times", lambda path: times)
        monkeypatch.setattr(module, "chip_of", lambda kind: None)
        monkeypatch.setattr(module, "measured_chip", lambda: "measured")
        monkeypatch.setattr(module, "hot_operations", hot_operations)
        monkeypatch.setattr(module, "render", lambda title, panels, cards, **words: f"{title} {cards} {words} {panels}")
        assert module.profile(one) == 0
        return log

    return call


def test_the_first_three_steps_are_not_traced_and_the_traced_ones_go_on_from_them(profiled, tmp_path):
    (tmp_path / "profile" / "trace" / "old").mkdir(parents=True)
    log = profiled([operation("dot", 1.0, 1.0)], steps=2)
    steps = [("step", t, ("on device", f"batch {t}")) for t in range(5)]
    assert log == [
        ("checked", "batch 0"),
        ("program", ("learner", "setup"), "batch 0", "placement", 6),
        ("init", "batch 0", ("start", "setup")),
        "compile",
        *steps[:3],
        ("trace", 0, 2),
        *steps[3:],
        "traced",
        ("hot", ("times",), "program text", 2, "measured"),
    ]
    assert not (tmp_path / "profile" / "trace" / "old").exists(), "an earlier trace would be counted, too"


def test_the_report_lists_the_ten_longest_and_the_time_of_each_phase(profiled, tmp_path, capsys):
    """Compiled from 1 to 2 s; two steps from 4 to 8 s, 2 s each. Of 12 s, 3 are forward and 9 backward.

    The ten longest hold 3/4 + 9/48 = 0.9375 of the time.
    """
    rows = [operation("grad", 9.0, 0.75, phase="backward")]
    rows += [operation(f"op{i}", 0.25, 1 / 48) for i in range(12)]
    profiled(rows)
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["operation", "module", "phase"]
    assert [line.split()[0] for line in lines[:10]] == ["grad", *(f"op{i}" for i in range(9))]
    assert [line.index("net/head") for line in lines[:10]] == [head.index("module")] * 10
    assert lines[10] == (
        "2000.00 ms a step under the profiler, compiled in 1.0 s; 13 operations, forward 25 %, backward 75 %, "
        "other 0 % of their time"
    )
    content = json.loads((tmp_path / "profile" / "profile.json").read_text())
    assert (content["step_seconds"], content["compile_seconds"]) == (2, 1)
    assert [row["name"] for row in content["operations"]] == [row.name for row in rows]
    page = (tmp_path / "profile" / "profile.html").read_text()
    assert page.startswith("a.page: profile {'a step': '2000.00 ms', 'compilation': '1.0 s', 'operations': '13', ")
    assert "The 10 longest operations: 94% of the time" in page
    assert "The roof is the measured speed of one product" in page  # no chip is known
    assert "open it at ui.perfetto.dev" in page
    assert "'subtitle': '2000.00 ms a step under the profiler" in page
    assert "'details': {'Environment': {'hardware': " in page
    assert "Memory" in page


def test_a_trace_without_operations_and_several_processes_are_refused(profiled, monkeypatch):
    with pytest.raises(ValueError, match="the profiler saw no operation of this program; its trace is in"):
        profiled([], times=())
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(ValueError, match=r"^--mode=profile: there are 2 processes; allowed: one process"):
        profiled([])
