"""The report of a training, one file report.html: headline numbers, panels, memory, settings and environment."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dlcore.cost.memory import residual_bytes
from dlcore.data.pipeline import settings
from dlcore.learner import Learner
from dlcore.report.html import render
from dlcore.report.measures import legend_panels, number_text
from dlcore.report.panel import Panel
from dlcore.run import provenance
from dlcore.run.evaluate import Evaluation, arrays, pad_local_batches, scalars
from dlcore.run.processes import is_first, on_host
from dlcore.run.progress import duration
from dlcore.run.result import Result

__all__ = ["REPORT", "card", "loss_residuals", "report_fit", "write_report"]

REPORT = "report.html"
_FACTS = {"step", "split", "seconds", "epoch"}
"""Keys of a history row that are no metrics."""


def card(name: str, value: float | None) -> str:
    """Format a number for a headline.

    Args:
      name: name of the metric; tells a fraction from other numbers.
      value: value of the metric; None without examples.

    Returns:
      The text; fractions in percent.
    """
    return "–" if value is None else number_text(name, value)


def loss_residuals(learner: Learner, state: Any, batch: Any, spmd: str) -> int | None:
    """Count the bytes that the loss of one batch stores for its backward pass.

    Args:
      learner: a learner with a `loss`.
      state: the learner's state, on the host.
      batch: an example batch.
      spmd: "jit" or "pmap".

    Returns:
      Bytes; None if the learner has no loss, and under pmap.
    """
    loss = learner.loss
    if loss is None or spmd == "pmap":
        return None
    return residual_bytes(lambda params: loss(params, state, batch)[0], state.params)


def write_report(
    path: Path,
    title: str,
    panels: Sequence[Panel],
    result: Result,
    *,
    measured: Mapping[str, str],
    params: Any,
    subtitle: str = "",
    banner: str = "",
    measures: Sequence[str] = (),
    step: int | None = None,
    seconds: float | None = None,
    rates: bool = True,
    flags: Collection[str] = (),
    residuals: int | None = None,
    settings: Mapping[str, Any] | None = None,
    environment: Mapping[str, Any] | None = None,
) -> None:
    """Write the report of a training.

    Args:
      path: path of the file.
      title: title of the report.
      panels: the report's panels in order; the memory of a step is appended.
      result: result of `fit`.
      measured: {name: text}, the first headline numbers.
      params: parameters, to count.
      subtitle: a line under the title.
      banner: a warning above the title.
      measures: names of the measures that the legend explains, beside those of the history.
      step: evaluated step; None for the last.
      seconds: total time; None for the time in steps.
      rates: show examples per second.
      flags: names of the run's flags, for advice on memory.
      residuals: bytes that the loss stores for its backward pass.
      settings: {name: value}, a table at the end.
      environment: {name: value}, shown with the hardware.
    """
    from dlcore.report.memory import memory_panel

    parameters = sum(int(np.prod(x.shape)) for x in jax.tree.leaves(params))
    speeds = [row["examples_per_second"] for row in result.history if row.get("examples_per_second")]
    cards = {
        **measured,
        "parameters": f"{parameters:,}",
        "steps": f"{result.step:,}" + (f" (tested: {step:,})" if step not in (None, result.step) else ""),
        **({"time in steps": duration(result.seconds)} if seconds is None else {"wall time": duration(seconds)}),
        **({"examples/s": f"{np.median(speeds):,.0f}"} if speeds and rates else {}),
        **({"waiting for data": f"{100 * result.wait_fraction:.1f} %"} if result.step > result.first_step else {}),
    }
    details = {
        "Settings": dict(settings or {}),
        "Environment": {"hardware": provenance.hardware(), **(environment or {})},
    }
    names = [*measures, *(name for row in result.history for name in row if name not in _FACTS)]
    memory = [memory_panel(result.memory, flags, residuals)] if result.memory else []
    panels = [*panels, *memory, *legend_panels(names)]
    page = render(title, panels, cards, subtitle=subtitle, details=details, banner=banner)
    path.write_text(page, encoding="utf-8")


def report_fit(
    folder: Path,
    learner: Learner,
    result: Result,
    evaluation: Evaluation,
    *,
    train: Any,
    valid: Any,
    batch: Any,
    seed: int,
    evaluators: Sequence[Any] = (),
    batch_size: int = 256,
) -> Path:
    """Write the report of a call of `fit`, evaluated on its validation data.

    Args:
      folder: folder of report.html.
      learner: learner that was trained.
      result: result of the training.
      evaluation: the learner's evaluation.
      train: training pipeline, for the description of the data.
      valid: validation source; None shows the training only.
      batch: an example batch.
      seed: random seed of the training.
      evaluators: evaluators of `valid`.
      batch_size: examples per batch.

    Returns:
      The path of the report.
    """
    from dlcore.report.classifier import classifier_panels
    from dlcore.report.curves import curves
    from dlcore.report.triage import triage_panels

    measures: dict[str, Any] = {}
    outputs, measured = None, {}
    if valid is not None:
        measures = evaluation.measures(result.state, valid, evaluators, batch_size)
        if {"image", "label"} <= set(valid.arrays):
            outputs = evaluation.outputs(result.state, pad_local_batches(valid, batch_size, evaluation.placement))
        numbers = {name: value for name, value in scalars(measures).items() if "/" not in name}
        measured = {f"valid {name}": card(name, value) for name, value in list(numbers.items())[:3]}
        measured["valid examples"] = f"{len(valid):,}"
    path, state = folder / REPORT, on_host(result.state)
    if not is_first():
        return path
    params = getattr(state, "params", None)
    panels = [curves(result.history), *triage_panels(result.history, floor=None)]
    probabilities = outputs.get("probabilities") if isinstance(outputs, dict) else None
    if valid is not None and probabilities is not None and probabilities.ndim == 2:
        names = valid.class_names or tuple(map(str, range(probabilities.shape[1])))
        scalars_and_arrays = {**scalars(measures), **arrays(measures)}
        panels += classifier_panels(
            scalars_and_arrays, valid.arrays["image"], valid.arrays["label"], probabilities, names, params
        )
    name = getattr(valid, "name", "")
    write_report(
        path,
        folder.name,
        panels,
        result,
        measured=measured,
        params=params,
        subtitle=f"Dataset: {name}, seed {seed}." if name else f"Seed {seed}.",
        residuals=loss_residuals(learner, state, batch, evaluation.placement.spmd),
        settings={"seed": seed, "data": settings(train)},
        environment=provenance.versions(),
    )
    return path
