"""`--mode=train`: train a page, test it once, write its report and its candidate line for the ledger."""

import datetime
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from dlcore.data.pipeline import batch_at
from dlcore.diagnostics.report import is_share
from dlcore.diagnostics.writers import MetricsWriter, read_metrics
from dlcore.learner import Learner
from dlcore.run import environment
from dlcore.run.checkpoint import Checkpoints, check_writable
from dlcore.run.evaluate import Evaluation, padded
from dlcore.run.fit import Result, Saving, fit
from dlcore.run.page import Data, Job, Setup, check_identity
from dlcore.run.processes import barrier, is_first, on_host
from dlcore.run.progress import duration, say
from dlcore.run.step import Program

__all__ = ["ReportContext", "restore_state", "train"]

REPORT, RESULT = "report.html", "result.json"


class ReportContext(NamedTuple):
    """What report panels are made from.

    history: rows of metrics.jsonl. numbers, arrays: the test split's metrics. outputs: `predict` over the test split or
    `Data.shown`. state: the tested one. data, spec, flags, learner: of the run.
    """

    history: list[dict]
    numbers: dict[str, float | None]
    arrays: dict[str, Any]
    outputs: Any
    state: Any
    data: Data
    spec: dict
    flags: Any
    learner: Learner


def train(job: Job) -> int:
    """Train, or resume, or say that it is done."""
    flags, folder = job.flags, job.folder
    config = job.config()
    if flags.fresh and config is not None and (folder / RESULT).exists():
        _keep_old(folder)
        config = None
    if config is not None:
        check_identity(job, config)
        if (folder / RESULT).exists():
            say(f"finished before: {folder / REPORT}  (--fresh trains again)")
            return 0
    placement = job.placement()
    check_writable(folder)
    data = job.page.data(flags)
    for note in data.notes:
        say(f"note: {note}")
    setup = job.setup_of(data)
    spec = setup.spec
    learner = job.page.build(setup)
    pipelines = job.pipelines(data.train)
    if is_first():
        job.write_config(spec)
        say(f"{job.page.name}: {setup.steps} steps on {environment.hardware()}, run folder {folder}")
    batch = batch_at(pipelines, 0)
    hooks = [*job.page.hooks(setup), *_watch(job, setup, batch)]
    result = fit(
        learner, pipelines, steps=setup.steps, seed=flags.seed, folder=folder, valid=data.valid,
        evaluators=job.page.evaluators(setup, data, "valid"), eval_batch_size=flags.eval_batch_size,
        start=job.page.start(setup), hooks=hooks, placement=placement,
        log_every=flags.log_every, eval_every=job.eval_every(data.train_size), progress=flags.progress,
        saving=Saving(
            flags.checkpoint_seconds, flags.checkpoint_steps, flags.keep_last,
            monitor=job.page.monitor if data.valid is not None else None, mode=job.page.mode,
        ),
    )  # fmt: skip
    _finish(job, data, setup, learner, result, placement, hooks, batch)
    return 0


def _watch(job: Job, setup: Setup, batch: Any) -> list:
    """The hook of `--watch`, in a list; none where it is off."""
    if not job.flags.watch:
        return []
    if jax.process_count() > 1:
        raise ValueError("--watch works with one process only")
    from dlcore.run.watch import Watch

    learner = job.page.build(job.setup(setup.spec, job.flags.replace(spmd="jit")))
    return [Watch(learner, batch, job.flags.watch)]


def _keep_old(folder: Path) -> None:
    barrier("an earlier run")  # all have seen that it had finished
    if is_first():
        number = 1
        while (old := folder.with_name(f"{folder.name}.old{number}")).exists():
            number += 1
        folder.rename(old)
        say(f"the earlier run is now {old}")
    barrier("set aside")


def restore_state(job: Job, learner: Learner, batch: Any, select: str) -> tuple[int, Any]:
    """(step, state) of the best or the last checkpoint in the run's folder.

    Raises:
      FileNotFoundError: there is none.
    """
    placement = job.placement()
    store = Checkpoints(job.folder / "checkpoints", mode=job.page.mode, read_only=True)
    program = Program(learner, batch, placement, job.flags.seed)
    step = store.best_step() if select == "best" else None
    restored = store.restore(program.abstract_carry, step)
    store.close()
    if restored is None:
        raise FileNotFoundError(f"there is no checkpoint in {job.folder}")
    return restored[0], restored[1].state


def _finish(job, data: Data, setup: Setup, learner, result: Result, placement, hooks, batch) -> None:
    flags, folder, spec = job.flags, job.folder, setup.spec
    step, state = result.step, result.state
    if flags.select == "best" and result.best_step not in (None, result.step):
        step, state = restore_state(job, learner, batch, "best")
    if data.test is None:
        return
    evaluation = Evaluation(learner, placement)
    evaluators = job.page.evaluators(setup, data, "test")
    numbers, arrays = evaluation.everything(state, data.test, evaluators, flags.eval_batch_size)
    shown = data.test if data.shown is None else data.shown
    outputs = evaluation.outputs(state, padded(shown, flags.eval_batch_size, placement))
    state = on_host(state)
    if not is_first():
        return
    row = {"step": step, "split": "test", **numbers}
    history = [r for r in read_metrics(folder) if r["split"] != "test"] + [row]
    seconds = environment.process_seconds() + result.seconds_before
    context = ReportContext(history, numbers, arrays, outputs, state, data, spec, flags, learner)
    with MetricsWriter(folder) as writer:
        if len(history) > len(read_metrics(folder)):
            writer.write(row)
        for name, picture in (job.page.pictures(context) if job.page.pictures else {}).items():
            writer.image(f"test/{name}", picture, step)
    more = [panel for hook in hooks if hasattr(hook, "panels") for panel in hook.panels(context)]
    report = _report(job, context, result, step, seconds, more, batch)
    value = numbers.get(job.page.headline)
    line = {
        "page": job.page.name, "command": environment.command(), "seed": flags.seed,
        "dataset": spec.get("dataset", ""), "metric": f"test {job.page.headline}", "value": value, "step": step,
        "wall_seconds": round(seconds, 1), "hardware": environment.hardware(), "versions": environment.versions(),
        "commit": environment.commit(), "date": datetime.date.today().isoformat(),
    }  # fmt: skip
    temporary = folder / (RESULT + ".tmp")
    temporary.write_text(json.dumps(line, indent=1) + "\n")
    os.replace(temporary, folder / RESULT)
    shown = ", ".join(f"{k} {v:.4f}" for k, v in numbers.items() if "/" not in k and v is not None)
    say(f"test at step {step}: {shown}")
    say(f"{duration(seconds)} in all; report: {report}")


def _kept(job: Job, context: ReportContext, batch: Any) -> int | None:
    """Bytes that the loss of one batch keeps for its gradient; None where the learner has no loss."""
    from dlcore.diagnostics.memory import residual_bytes

    if context.learner.loss is None or job.flags.spmd == "pmap":
        return None
    state = context.state
    return residual_bytes(lambda params: context.learner.loss(params, state, batch)[0], state.params)


def _shown(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.2%}" if is_share(name) else f"{value:.4g}"


def _report(
    job: Job, context: ReportContext, result: Result, step: int, seconds: float, more: list, batch: Any
) -> Path:
    from dlcore.diagnostics.memory import memory_panel
    from dlcore.diagnostics.report import render
    from dlcore.diagnostics.triage import triage_panel

    panels = job.page.panels(context) if job.page.panels else []
    panels = [*panels[:1], triage_panel(context.history), *panels[1:], *more]
    panels.append(memory_panel(result.memory, _kept(job, context, batch)))
    parameters = sum(int(np.prod(x.shape)) for x in jax.tree.leaves(getattr(context.state, "params", None)))
    rates = [row["examples_per_second"] for row in context.history if row.get("examples_per_second")]
    value = context.numbers.get(job.page.headline)
    cards = {
        f"test {job.page.headline}": _shown(job.page.headline, value),
        "test examples": f"{len(context.data.test):,}",
        "parameters": f"{parameters:,}",
        "steps": f"{result.step:,}" + (f" (tested: {step:,})" if step != result.step else ""),
        "wall time": duration(seconds),
        "examples/s": f"{np.median(rates):,.0f}" if rates else "–",
        "waiting for data": f"{result.wait_fraction:.1%}",
    }
    config = job.config() or {}
    details = {
        "Settings": {"command": config.get("command", ""), **{f"--{k}": v for k, v in sorted(job.identity.items())}},
        "Environment": {
            "hardware": environment.hardware(),
            "commit": config.get("commit"),
            **config.get("versions", {}),
        },
    }
    path = job.folder / REPORT
    subtitle = (
        (job.page.doc.strip().split("\n")[0]) + f"  Dataset: {context.spec.get('dataset', '?')}, seed {job.flags.seed}."
    )
    path.write_text(render(job.page.name, panels, cards, subtitle=subtitle, details=details))
    return path
