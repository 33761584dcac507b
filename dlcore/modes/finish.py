"""What follows training: the test, once, the report, and a candidate line for the ledger."""

import datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dlcore.experiment.experiment import Setup
from dlcore.experiment.resolved_run import ResolvedRun, restore_state
from dlcore.experiment.splits import Splits, metric_label
from dlcore.learner import Learner
from dlcore.modes.report_context import ReportContext
from dlcore.report.html import is_share
from dlcore.run import provenance
from dlcore.run.evaluate import Evaluation, arrays, padded, scalars
from dlcore.run.fit import Result
from dlcore.run.json_files import write_json
from dlcore.run.metrics_writer import MetricsWriter, read_metrics
from dlcore.run.processes import is_first, on_host
from dlcore.run.progress import duration, say

__all__ = ["REPORT", "RESULT", "finish"]

REPORT, RESULT = "report.html", "result.json"


def finish(
    run: ResolvedRun, data: Splits, setup: Setup, learner: Learner, result: Result, hooks: list, batch: Any
) -> None:
    """Test a trained learner once, and write its report and its candidate line for the ledger.

    Args:
      run: that was trained.
      data: its splits; nothing is done without a test split.
      setup: what its learner was built from.
      learner: that was trained.
      result: of `fit`.
      hooks: that `fit` called; those with `panels(context)` add to the report.
      batch: an example batch.
    """
    flags, folder, spec, placement = run.flags, run.folder, setup.spec, run.placement()
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
        "metric": f"test {metric_label(run.experiment.headline, spec)}",
        "value": value,
        "step": step,
        "wall_seconds": round(seconds, 1),
        "hardware": provenance.hardware(),
        "versions": provenance.versions(),
        "commit": provenance.commit(),
        "changed_files": list(provenance.changed_files()),
        "smoke": flags.smoke,
        "date": datetime.date.today().isoformat(),
    }
    write_json(folder / RESULT, line)
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


def _curves(context: ReportContext) -> list:
    """The panels of an experiment that has none of its own."""
    from dlcore.report.curves import curves
    from dlcore.report.triage import triage_panels

    return [curves(context.history), *triage_panels(context.history)]


def _report(
    run: ResolvedRun, context: ReportContext, result: Result, step: int, seconds: float, hook_panels: list, batch: Any
) -> Path:
    from dlcore.report.html import render
    from dlcore.report.memory import memory_panel

    first, *others = (run.experiment.panels or _curves)(context)
    panels = [first, *hook_panels, *others]
    panels.append(memory_panel(result.memory, set(run.flags), _residual_bytes(run, context, batch)))
    parameters = sum(int(np.prod(x.shape)) for x in jax.tree.leaves(getattr(context.state, "params", None)))
    rates = [row["examples_per_second"] for row in context.history if row.get("examples_per_second")]
    value, counts = context.numbers.get(run.experiment.headline), context.spec.get("counts", "examples")
    cards = {
        f"test {metric_label(run.experiment.headline, context.spec)}": _card(run.experiment.headline, value),
        f"test {counts}": f"{len(context.data.test):,}",
        "parameters": f"{parameters:,}",
        "steps": f"{result.step:,}" + (f" (tested: {step:,})" if step != result.step else ""),
        "wall time": duration(seconds),
        **({"examples/s": f"{np.median(rates):,.0f}"} if rates and counts == "examples" else {}),
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
