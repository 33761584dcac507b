"""End of a training: evaluate the test split once, write the report and a candidate row for the ledger."""

import shlex
import sys
from html import escape
from pathlib import Path
from typing import Any

from dlcore.activity import activity
from dlcore.data.shards import SHARDS
from dlcore.data.splits import Spec, Splits, metric_label
from dlcore.diagnostics.trivial import Trivial, baseline, trivial_measures
from dlcore.experiment.parts import Run
from dlcore.experiment.resolved_run import ResolvedRun, restore_state
from dlcore.experiment.study import SMOKE
from dlcore.learner import Learner
from dlcore.report.context import ReportContext
from dlcore.report.measures import better_direction, describe, in_per_cent, number_panels, number_text
from dlcore.report.panel import Panel
from dlcore.report.tables import text
from dlcore.run import provenance
from dlcore.run.attempts import wall_seconds
from dlcore.run.evaluate import Evaluation, arrays, pad_local_batches, scalars
from dlcore.run.fit import Result
from dlcore.run.json_files import write_json
from dlcore.run.metrics_writer import MetricsWriter, read_metrics
from dlcore.run.processes import is_first, on_host
from dlcore.run.progress import duration, say
from dlcore.run.report import REPORT, card, loss_residuals, write_report

__all__ = ["REPORT", "RESULT", "finish", "heading"]

RESULT = "result.json"
MAX_NUMBERS = 6
"""Largest number of measures of the printed line."""


def finish(
    run: ResolvedRun, data: Splits, training: Run, learner: Learner, result: Result, hooks: list, batch: Any
) -> None:
    """Evaluate a trained learner once on the test split, and write its report and its candidate line for the ledger.

    Args:
      run: run that was trained.
      data: splits of its data; without a test split nothing is done.
      training: facts that its learner was built from.
      learner: learner that was trained.
      result: result of `fit`.
      hooks: hooks that `fit` called; those with `panels(context)` add to the report.
      batch: an example batch.
    """
    flags, folder, spec, placement = run.flags, run.folder, training.spec, run.placement()
    step, state = result.step, result.state
    if flags.select == "best" and result.best_step not in (None, result.step):
        step, state = restore_state(run, learner, batch, "best")
    if data.test is None:
        return
    evaluation = Evaluation(learner, placement)
    evaluators = training.evaluators(data, "test")
    measures = evaluation.measures(state, data.test, evaluators, flags.eval_batch_size)
    predicted_split = data.test if data.shown is None else data.shown
    outputs = evaluation.outputs(state, pad_local_batches(predicted_split, flags.eval_batch_size, placement))
    state = on_host(state)
    if not is_first():
        return
    numbers = scalars(measures)
    row = {"step": step, "split": "test", **numbers}
    history = [r for r in read_metrics(folder) if r["split"] != "test"] + [row]
    context = ReportContext(history, numbers, arrays(measures), outputs, state, data, spec, flags, learner, training)
    wall_seconds(folder)
    with activity("drawing the report"):
        _draw(run, context, result, row, hooks, batch)


def _draw(run: ResolvedRun, context: ReportContext, result: Result, row: dict, hooks: list, batch: Any) -> None:
    """Write the report, result.json and the pictures for trackers."""
    folder, flags, data, spec, numbers = run.folder, run.flags, context.data, context.spec, context.numbers
    step, history = row["step"], context.history
    with MetricsWriter(folder, tracking=run.tracking) as writer:
        if len(history) > len(read_metrics(folder)):
            writer.write(row)
        for name, picture in context.run.pictures(context).items():
            writer.image(f"test/{name}", picture, step)
        writer.publish()
    trivial = trivial_measures(data.train, data.test, numbers, spec.get("trivial", {}))
    hook_panels = [panel for hook in hooks if hasattr(hook, "panels") for panel in hook.panels(context)]
    report, seconds = _report(run, context, trivial, result, step, hook_panels, batch)
    headline = spec.get("headline", run.experiment.parts.headline)
    value = numbers.get(headline)
    line = {
        "experiment": run.experiment.name,
        "seed": flags.seed,
        "dataset": spec.get("dataset", ""),
        "metric": f"test {metric_label(headline, spec)}",
        "value": value,
        "baseline": _baseline(headline, context, trivial),
        "step": step,
        "wall_seconds": round(seconds, 1),
        **provenance.result_facts(flags.smoke),
    }
    write_json(folder / RESULT, line)
    texts = [f"{k} {v:.4f}" for k, v in numbers.items() if "/" not in k and v is not None]
    more = f" and {len(texts) - MAX_NUMBERS} more in the report" if len(texts) > MAX_NUMBERS else ""
    say(f"test at step {step}: {', '.join(texts[:MAX_NUMBERS])}{more}")
    say(f"{duration(seconds)} in all; report: {report}")


def _baseline(headline: str, context: ReportContext, trivial: dict[str, Trivial]) -> dict[str, Any] | None:
    """Build the ledger entry of the baseline; None if it or the better direction is unknown."""
    better = better_direction(headline)
    trivial_value = baseline(headline, {**context.spec, **context.numbers}, trivial)
    if trivial_value is None or not better:
        return None
    return {"value": trivial_value.value, "name": trivial_value.rule, "better": better}


def _curves(context: ReportContext) -> list:
    """Show the default panels of an experiment."""
    from dlcore.report.curves import curves
    from dlcore.report.triage import triage_panels

    return [curves(context.history), *triage_panels(context.history)]


def _report(
    run: ResolvedRun,
    context: ReportContext,
    trivial: dict[str, Trivial],
    result: Result,
    step: int,
    hook_panels: list,
    batch: Any,
) -> tuple[Path, float]:
    """Write the report; return its path, and the wall time, taken once all is drawn."""
    data, flags = context.data, run.flags
    first, *rest = context.run.panels(context) or _curves(context)
    panels = [*_first_panels(run, context, trivial), first, *hook_panels, *rest]
    panels += number_panels(context.numbers, trivial)
    headline = context.spec.get("headline", run.experiment.parts.headline)
    value, counts = context.numbers.get(headline), context.spec.get("counts", "examples")
    config = run.config() or {}
    title, subtitle = heading(run, context.spec, data)
    path = run.folder / REPORT
    residuals = loss_residuals(context.learner, context.state, batch, flags.spmd)
    seconds = wall_seconds(run.folder)
    write_report(
        path,
        title,
        panels,
        result,
        measured={
            **({} if value is None else {f"test {metric_label(headline, context.spec)}": card(headline, value)}),
            **_baseline_card(headline, baseline(headline, {**context.spec, **context.numbers}, trivial)),
            f"test {counts}": f"{len(data.test):,}",
        },
        params=getattr(context.state, "params", None),
        subtitle=subtitle,
        banner=SMOKE if flags.smoke else "",
        measures=tuple(context.numbers),
        step=step,
        seconds=seconds,
        rates=counts == "examples",
        flags=set(flags),
        residuals=residuals,
        settings={"command": config.get("command", ""), **{f"--{k}": v for k, v in sorted(run.identity.items())}},
        environment={"commit": config.get("commit"), **config.get("versions", {})},
    )
    return path, seconds


def _first_panels(run: ResolvedRun, context: ReportContext, trivial: dict[str, Trivial]) -> list[Panel]:
    """Explain the headline, and list the commands that use the run."""
    spec, test, use = context.spec, context.data.test, run.experiment.use
    headline, counts = spec.get("headline", run.experiment.parts.headline), spec.get("counts", "examples")
    sentences, measure, value = [], describe(headline), context.numbers.get(headline)
    if measure is not None and value is not None:
        better = f" ({measure.better} is better)" if measure.better else ""
        unit = f" {measure.unit}" if measure.unit not in ("", "%") else ""
        sentences.append(f"{measure.title}, {number_text(headline, value)}{unit}: {measure.about}{better}.")
    few = f" One of them is {100 / len(test):.1f} %." if len(test) < 100 and in_per_cent(headline) else ""
    sentences.append(f"Measured on {len(test):,} test {counts}, which no step has trained on.{few}")
    if base := baseline(headline, {**spec, **context.numbers}, trivial):
        sentences.append(f"The baseline, {base.rule}, reaches {number_text(headline, base.value)}.")
    sentences += context.run.explanations()
    page = (run.config() or {}).get("command", "").split(" --")[0] or f"python -m experiments.{run.experiment.name}"
    inputs = {"evaluate": ""}
    if use is not None:
        inputs["predict"] = "" if hasattr(use, "samples") else f" --input={run.experiment.parts.input_kind}"
    if counts == "examples":
        inputs["export"] = ""
    folder = shlex.quote(str(run.folder))
    lines = [f"{page} --mode={mode} --run={folder}{rest}" for mode, rest in inputs.items()]
    commands = "".join(f"<pre>{escape(line)}</pre>" for line in lines)
    return [
        text("What the numbers mean", "\n\n".join(sentences))._replace(half=True),
        Panel("What comes next", commands, "Commands that use this run:", half=True),
    ]


def heading(run: ResolvedRun, spec: Spec, data: Splits) -> tuple[str, str]:
    """Format the report's title, and a sentence about the run and its data.

    Args:
      run: run that was trained.
      data: splits of its data.

    Returns:
      (title, sentence): the first sentence of the experiment file on its default data, else that of the technique.
    """
    experiment, flags = run.experiment, run.flags
    dataset, folder = spec.get("dataset", ""), flags.get("data_dir")
    is_own_folder = dataset in ("folder", *SHARDS) and bool(folder)
    name = f"the folder {Path(str(folder)).name}" if is_own_folder else dataset.replace("_", " ")
    setting = experiment.settings.get("dataset")
    usual = experiment.values.get("dataset", setting.default if setting else dataset)
    module = sys.modules.get(experiment.parts.technique.__module__)
    about = experiment.doc if dataset == usual or not (module and module.__doc__) else module.__doc__
    sentence = about.strip().split("\n\n")[0].replace("\n", " ").rstrip(".:")
    episodes = spec.get("counts", "examples") != "examples"
    parts = [
        ("training", 0 if episodes else data.train_size),
        ("validation", _length(data.valid)),
        ("test", _length(data.test)),
    ]
    counts = ", ".join(f"{count:,} {part}" for part, count in parts if count)
    sizes = f" ({counts} {spec.get('counts', 'examples')})" if counts else ""
    title = f"{experiment.name}: {name}" if name else experiment.name
    return title, f"{sentence}. Data: {name}{sizes}; seed {flags.seed}." if name else f"{sentence}. Seed {flags.seed}."


def _length(source: Any) -> int:
    return 0 if source is None else len(source)


def _baseline_card(headline: str, trivial: Trivial | None) -> dict[str, str]:
    return {} if trivial is None else {f"baseline: {trivial.rule}": number_text(headline, trivial.value)}
