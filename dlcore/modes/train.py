"""`--mode=train`: train an experiment, test it once, write its report and its candidate line for the ledger."""

import datetime
import json
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dlcore.data.pipeline import batch_at
from dlcore.experiment.experiment import Setup
from dlcore.experiment.mode import Mode
from dlcore.experiment.resolved_run import ResolvedRun, check_identity, restore_state
from dlcore.experiment.splits import Splits
from dlcore.modes.report_context import ReportContext
from dlcore.modes.watch import watch_hooks
from dlcore.report.html import is_share
from dlcore.run import provenance
from dlcore.run.checkpoint import check_writable
from dlcore.run.evaluate import Evaluation, arrays, padded, scalars
from dlcore.run.fit import Result, Saving, fit
from dlcore.run.metrics_writer import MetricsWriter, read_metrics
from dlcore.run.processes import barrier, is_first, on_host
from dlcore.run.progress import duration, say

__all__ = ["MODE", "train"]

REPORT, RESULT = "report.html", "result.json"


def train(run: ResolvedRun) -> int:
    """Train, or resume, and report; say so where the run is finished already.

    Args:
      run: of the experiment.

    Returns:
      The exit status, 0.
    """
    flags, folder = run.flags, run.folder
    config = run.config()
    if flags.fresh and config is not None and (folder / RESULT).exists():
        _set_aside(folder)
        config = None
    if config is not None:
        check_identity(run, config)
        if (folder / RESULT).exists():
            say(f"finished before: {folder / REPORT}  (--fresh trains again)")
            return 0
    placement = run.placement()
    check_writable(folder)
    data = run.experiment.data(flags)
    for note in data.notes:
        say(f"note: {note}")
    setup = run.setup_of(data)
    spec = setup.spec
    learner = run.experiment.build(setup)
    pipelines = run.pipelines(data.train)
    if is_first():
        run.write_config(spec)
        say(f"{run.experiment.name}: {setup.steps} steps on {provenance.hardware()}, run folder {folder}")
    batch = batch_at(pipelines, 0)
    hooks = [*run.experiment.hooks(setup), *watch_hooks(run, setup, batch)]
    result = fit(
        learner,
        pipelines,
        steps=setup.steps,
        seed=flags.seed,
        folder=folder,
        valid=data.valid,
        evaluators=run.experiment.evaluators(setup, data, "valid"),
        eval_batch_size=flags.eval_batch_size,
        start=run.experiment.start(setup),
        hooks=hooks,
        placement=placement,
        log_every=flags.log_every,
        eval_every=run.eval_every(data.train_size),
        progress=flags.progress,
        saving=Saving(
            flags.checkpoint_seconds,
            flags.checkpoint_steps,
            flags.keep_last,
            monitor=run.experiment.monitor if data.valid is not None else None,
            mode=run.experiment.monitor_mode,
        ),
    )
    _finish(run, data, setup, learner, result, placement, hooks, batch)
    return 0


def _set_aside(folder: Path) -> None:
    barrier("an earlier run")  # all have seen that it had finished
    if is_first():
        number = 1
        while (old := folder.with_name(f"{folder.name}.old{number}")).exists():
            number += 1
        folder.rename(old)
        say(f"the earlier run is now {old}")
    barrier("set aside")


def _finish(run, data: Splits, setup: Setup, learner, result: Result, placement, hooks, batch) -> None:
    flags, folder, spec = run.flags, run.folder, setup.spec
    step, state = result.step, result.state
    if flags.select == "best" and result.best_step not in (None, result.step):
        step, state = restore_state(run, learner, batch, "best")
    if data.test is None:
        return
    evaluation = Evaluation(learner, placement)
    evaluators = run.experiment.evaluators(setup, data, "test")
    measures = evaluation.measures(state, data.test, evaluators, flags.eval_batch_size)
    shown = data.test if data.shown is None else data.shown
    outputs = evaluation.outputs(state, padded(shown, flags.eval_batch_size, placement))
    state = on_host(state)
    if not is_first():
        return
    numbers = scalars(measures)
    row = {"step": step, "split": "test", **numbers}
    history = [r for r in read_metrics(folder) if r["split"] != "test"] + [row]
    seconds = provenance.process_seconds() + result.seconds_before
    context = ReportContext(history, numbers, arrays(measures), outputs, state, data, spec, flags, learner)
    with MetricsWriter(folder) as writer:
        if len(history) > len(read_metrics(folder)):
            writer.write(row)
        for name, picture in (run.experiment.pictures(context) if run.experiment.pictures else {}).items():
            writer.image(f"test/{name}", picture, step)
    hook_panels = [panel for hook in hooks if hasattr(hook, "panels") for panel in hook.panels(context)]
    report = _report(run, context, result, step, seconds, hook_panels, batch)
    value = numbers.get(run.experiment.headline)
    line = {
        "experiment": run.experiment.name,
        "command": provenance.command(),
        "seed": flags.seed,
        "dataset": spec.get("dataset", ""),
        "metric": f"test {run.experiment.headline}",
        "value": value,
        "step": step,
        "wall_seconds": round(seconds, 1),
        "hardware": provenance.hardware(),
        "versions": provenance.versions(),
        "commit": provenance.commit(),
        "date": datetime.date.today().isoformat(),
    }
    temporary = folder / (RESULT + ".tmp")
    temporary.write_text(json.dumps(line, indent=1) + "\n")
    os.replace(temporary, folder / RESULT)
    shown = ", ".join(f"{k} {v:.4f}" for k, v in numbers.items() if "/" not in k and v is not None)
    say(f"test at step {step}: {shown}")
    say(f"{duration(seconds)} in all; report: {report}")


def _residual_bytes(run: ResolvedRun, context: ReportContext, batch: Any) -> int | None:
    """Bytes that the loss of one batch stores for its backward pass; None where the learner has no loss."""
    from dlcore.cost.memory import residual_bytes

    if context.learner.loss is None or run.flags.spmd == "pmap":
        return None
    state = context.state
    return residual_bytes(lambda params: context.learner.loss(params, state, batch)[0], state.params)


def _card(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.2%}" if is_share(name) else f"{value:.4g}"


def _report(
    run: ResolvedRun, context: ReportContext, result: Result, step: int, seconds: float, hook_panels: list, batch: Any
) -> Path:
    from dlcore.report.html import render
    from dlcore.report.memory import memory_panel
    from dlcore.report.triage import triage_panel

    panels = run.experiment.panels(context) if run.experiment.panels else []
    panels = [*panels[:1], triage_panel(context.history), *panels[1:], *hook_panels]
    panels.append(memory_panel(result.memory, _residual_bytes(run, context, batch)))
    parameters = sum(int(np.prod(x.shape)) for x in jax.tree.leaves(getattr(context.state, "params", None)))
    rates = [row["examples_per_second"] for row in context.history if row.get("examples_per_second")]
    value = context.numbers.get(run.experiment.headline)
    cards = {
        f"test {run.experiment.headline}": _card(run.experiment.headline, value),
        "test examples": f"{len(context.data.test):,}",
        "parameters": f"{parameters:,}",
        "steps": f"{result.step:,}" + (f" (tested: {step:,})" if step != result.step else ""),
        "wall time": duration(seconds),
        "examples/s": f"{np.median(rates):,.0f}" if rates else "–",
        "waiting for data": f"{result.wait_fraction:.1%}",
    }
    config = run.config() or {}
    details = {
        "Settings": {"command": config.get("command", ""), **{f"--{k}": v for k, v in sorted(run.identity.items())}},
        "Environment": {
            "hardware": provenance.hardware(),
            "commit": config.get("commit"),
            **config.get("versions", {}),
        },
    }
    path = run.folder / REPORT
    subtitle = (
        (run.experiment.doc.strip().split("\n")[0])
        + f"  Dataset: {context.spec.get('dataset', '?')}, seed {run.flags.seed}."
    )
    path.write_text(render(run.experiment.name, panels, cards, subtitle=subtitle, details=details))
    return path


MODE = Mode(train)
