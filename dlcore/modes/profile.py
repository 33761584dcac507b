"""`--mode=profile`: run a few training steps under jax's profiler, and list the slowest operations.

The run's folder `profile` gets the trace (open the .trace.json.gz at ui.perfetto.dev, or the folder with xprof),
profile.json with one row per operation, and profile.html. Nothing is saved: the steps start from an initial state.
"""

import shutil
import time
from pathlib import Path

import jax

from dlcore.activity import activity
from dlcore.cost.memory import memory_report, readable
from dlcore.cost.profiled_operations import HotOperation, chip_of, hot_operations, measured_chip, trace_times
from dlcore.data.pipeline import batch_at
from dlcore.experiment.mode import Mode
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.learner import Range
from dlcore.report.html import render
from dlcore.report.memory import memory_panel
from dlcore.report.tables import table
from dlcore.run import provenance
from dlcore.run.checkpoint import check_writable, remove_empty
from dlcore.run.json_files import write_json
from dlcore.run.pmap import program_for
from dlcore.run.progress import say
from dlcore.run.step import Program
from dlcore.setting import Setting
from dlcore.weights.check import load_data

__all__ = ["MODE", "profile"]

WARMUP_STEPS = 3
TOP = 10


def profile(run: ResolvedRun) -> int:
    """Trace some training steps, and print the ten slowest operations.

    Args:
      run: the resolved run, with the flag `profile_steps`.

    Returns:
      The exit status, 0.
    """
    if jax.process_count() > 1:
        raise ValueError(f"--mode=profile: there are {jax.process_count()} processes; allowed: one process")
    folder = run.folder / "profile"
    remove_empty(check_writable(folder))
    data = load_data(run)
    training = run.training_of(data)
    pipelines = run.pipelines(data)
    batch = batch_at(pipelines, 0)
    learner = run.build(training, batch)
    program = program_for(learner, batch, run.placement(), run.flags.seed)
    carry = program.split(program.init(batch, training.start()))
    started = time.perf_counter()
    with activity("compiling"):
        program.compile()
    compiling = time.perf_counter() - started
    steps = run.flags.profile_steps
    batches = [program.put(batch_at(pipelines, t)) for t in range(WARMUP_STEPS + steps)]
    for t in range(WARMUP_STEPS):
        carry = jax.block_until_ready(program.step(carry, batches[t]))
    trace = folder / "trace"
    shutil.rmtree(trace, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level, options.host_tracer_level = 0, 2
    with activity("profiling"), jax.profiler.trace(str(trace), profiler_options=options):
        started = time.perf_counter()
        for t in range(WARMUP_STEPS, WARMUP_STEPS + steps):
            carry = program.step(carry, batches[t])
        jax.block_until_ready(carry)
        seconds = (time.perf_counter() - started) / steps
    times = trace_times(trace)
    if not times:
        raise ValueError(f"the profiler saw no operation of this program; its trace is in {trace}")
    kind = jax.devices()[0].device_kind
    chip = chip_of(kind) or measured_chip()
    rows = hot_operations(times, program.compiled.as_text(), steps, chip)
    _write(run, folder, rows, chip_of(kind) is not None, seconds, compiling, program)
    return 0


def _row(row: HotOperation) -> dict[str, str]:
    roof = row.least_seconds / row.seconds if row.seconds else 0.0
    return {
        "operation": row.name,
        "module": row.module or "–",
        "phase": row.phase,
        "ms per step": f"{row.seconds * 1e3:.3f}",
        "share": f"{100 * row.share:.1f} %",
        "GFLOPs": f"{row.flops / 1e9:.3f}" if row.flops else "–",
        "moves": readable(row.bytes) if row.bytes else "–",
        "of the roof": f"{100 * roof:.0f} % ({row.bound})" if roof else "–",
    }


def _write(
    run: ResolvedRun,
    folder: Path,
    rows: list[HotOperation],
    has_peak: bool,
    seconds: float,
    compiling: float,
    program: Program,
) -> None:
    top_rows = [_row(row) for row in rows[:TOP]]
    widths = {name: max(len(name), *(len(row[name]) for row in top_rows)) for name in top_rows[0]}
    for row in [{name: name for name in widths}, *top_rows]:
        say("  ".join(f"{row[name]:{width}}" for name, width in widths.items()).rstrip())
    total = sum(row.seconds for row in rows)
    phases = {p: sum(r.seconds for r in rows if r.phase == p) / total for p in ("forward", "backward", "other")}
    phase_fractions = {phase: f"{100 * fraction:.0f} %" for phase, fraction in phases.items()}
    summary = (
        f"{seconds * 1e3:.2f} ms a step under the profiler, compiled in {compiling:.1f} s; {len(rows)} operations, "
        f"{', '.join(' '.join(pair) for pair in phase_fractions.items())} of their time"
    )
    roof = (
        "The roof is the published peak of bfloat16 products and of the memory."
        if has_peak
        else "The roof is the measured speed of one product and one addition on this device; operations whose data "
        "stay in its caches can be faster."
    )
    trace = max((folder / "trace").rglob("*.trace.json.gz"))
    say(summary)
    say(f"trace for ui.perfetto.dev: {trace}")
    content = {
        "command": provenance.command(),
        "hardware": provenance.hardware(),
        "step_seconds": seconds,
        "compile_seconds": compiling,
        "operations": [row._asdict() for row in rows],
    }
    write_json(folder / "profile.json", content)
    title = f"The {len(top_rows)} longest operations: {sum(row.share for row in rows[:TOP]):.0%} of the time"
    memory = memory_report(program.abstract_state, program.batch, program.compiled)
    cards = {"a step": f"{seconds * 1e3:.2f} ms", "compilation": f"{compiling:.1f} s", "operations": str(len(rows))}
    details = {"Environment": {"hardware": provenance.hardware(), **provenance.versions()}}
    caption = f"{roof} The trace is {trace.relative_to(folder)}: open it at ui.perfetto.dev."
    path = folder / "profile.html"
    path.write_text(
        render(
            f"{run.experiment.name}: profile",
            [table(top_rows, title=title, subtitle=caption), memory_panel(memory, set(run.flags))],
            cards | phase_fractions,
            subtitle=summary,
            details=details,
        )
    )
    say(f"report: {path}")


MODE = Mode(profile, {"profile_steps": Setting(5, "training steps to trace", limits=Range(1), identity=False)})
