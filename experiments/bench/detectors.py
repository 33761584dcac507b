"""Put all detectors and segmenters of the ledger into one table: metric, parameters, ms an image, minutes to train.

python -m experiments.bench.detectors        (scenes; DATA_DIR=D for rows on real data: the folder of that data set)

Each measured row of the topics detection and segmentation gives a line: its number and its training time are those of
the ledger; the network is built again by the row's command, its parameters are counted, and `predict` is timed on one
image (processor milliseconds, the least of some calls, with weights as initialized; suppression is of fixed size, so
that its time does not depend on them). A row whose network cannot be built here (other data) keeps its other columns.
"""

import importlib
import os
import shlex
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dlcore.experiment import Experiment, Headline, Study, StudyResult
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.main import main
from dlcore.report.figure import PALETTE, new_figure
from experiments import ledger

TOPICS = ("detection", "segmentation")
LEDGER = Path(__file__).resolve().parents[1] / "results.jsonl"
HEADS = ("Dataset", "Row", "Metric", "Value", "Parameters", "ms an image", "Minutes to train")
FEW = {"num_scenes": 64}
"""Settings that make data small, where only its shapes are needed."""


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The measured rows of trained networks in the topics, by data set, the best first."""
    rows = [row for row in ledger.read(path) if row["status"] == ledger.MEASURED and "claim" not in row]
    rows = [row for row in rows if module_of(row["command"]).split(".")[0] in TOPICS]
    return sorted(rows, key=lambda row: (module_of(row["command"]).split(".")[0], row["dataset"], -row["mean"]))


def module_of(command: str) -> str:
    """The module that a command runs, as topic.stem."""
    return command.split()[2].removeprefix("experiments.")


def network_of(command: str, repeats: int) -> tuple[int, float]:
    """Build the network of a command: (parameters, processor milliseconds of predict on one image)."""
    experiment = importlib.import_module(f"experiments.{module_of(command)}").experiment
    if not isinstance(experiment, Experiment):
        raise ValueError(f"{command}: trains nothing; allowed: an experiment with a learner")
    words = [os.path.expandvars(word) for word in shlex.split(command)[3:]]
    few = {name: value for name, value in FEW.items() if name in experiment.settings}
    words = [word for word in words if not word.startswith(tuple(f"--{name}=" for name in few))]
    resolved = ResolvedRun(experiment, resolve(experiment, [*words, *(f"--{k}={v}" for k, v in few.items())]))
    splits = experiment.data(resolved.flags)
    learner = experiment.build(resolved.setup_of(splits))
    batch = {name: values[:1] for name, values in experiment.example(splits.spec).items()}
    batch["image"] = np.asarray(splits.test.arrays["image"][:1])
    state = jax.jit(learner.init)(jax.random.key(0), batch)
    predict, times = jax.jit(learner.predict), []
    jax.block_until_ready(predict(state, batch))
    for _ in range(repeats):
        start = time.process_time()
        jax.block_until_ready(predict(state, batch))
        times.append(time.process_time() - start)
    return sum(leaf.size for leaf in jax.tree.leaves(state.params)), 1000 * min(times)


def line_of(row: dict[str, Any], repeats: int) -> dict[str, Any]:
    """The columns of one row of the ledger; None for what cannot be measured here, and why."""
    line = {
        "Dataset": row["dataset"],
        "Row": row["id"],
        "Metric": row["metric"],
        "Value": row["mean"],
        "Minutes to train": statistics.fmean(row["wall_seconds"].values()) / 60,
    }
    try:
        parameters, milliseconds = network_of(row["command"], repeats)
    except (ValueError, OSError, ImportError) as error:
        return line | {"Parameters": None, "ms an image": None, "why": str(error).partition("\n")[0]}
    return line | {"Parameters": parameters, "ms an image": milliseconds}


def markdown(lines: Sequence[dict[str, Any]]) -> str:
    """Render lines as a table."""

    def cell(value: Any) -> str:
        if value is None:
            return "–"
        return f"{value:,}" if isinstance(value, int) else f"{value:.3g}" if isinstance(value, float) else str(value)

    table = [HEADS, ["---"] * len(HEADS), *([cell(line[head]) for head in HEADS] for line in lines)]
    return "\n".join("| " + " | ".join(row) + " |" for row in table)


def study(*, results: str = "", num_repeats: int = 5, only: str = "") -> StudyResult:
    """Build the table.

    Args:
      results: a ledger; this checkout's by default.
      num_repeats: calls of predict that are timed.
      only: rows whose id contains this text; empty takes all.

    Returns:
      The numbers, the verdict (the table), and a figure.
    """
    rows = [row for row in rows_of(Path(results) if results else LEDGER) if only in row["id"]]
    if not rows:
        raise ValueError(f"only={only!r}: no measured row of {', '.join(TOPICS)}; allowed: a part of an id")
    lines = [line_of(row, num_repeats) for row in rows]
    numbers = {}
    for line in lines:
        parts = [f"{line['Metric']} {line['Value']:.4g}", f"{line['Minutes to train']:.3g} min"]
        if line["Parameters"] is None:
            parts.append(line["why"])
        else:
            parts += [f"{line['Parameters']:,} parameters", f"{line['ms an image']:.3g} ms an image"]
        numbers[f"{line['Dataset']}: {line['Row']}"] = "; ".join(parts)
    verdict = f"{len(lines)} networks:\n{markdown(lines)}"
    headline = Headline("networks in the table", len(lines), "ledger")
    return StudyResult(numbers, verdict, {"trade": draw(lines)}, headline=headline)


def draw(lines: Sequence[dict[str, Any]]):
    figure, axes = new_figure((6.0, 3.8))
    known = [line for line in lines if line["ms an image"] is not None]
    groups = list(dict.fromkeys((line["Dataset"], line["Metric"]) for line in known))
    for group, color in zip(groups, PALETTE, strict=False):
        chosen = [line for line in known if (line["Dataset"], line["Metric"]) == group]
        points = [line["ms an image"] for line in chosen], [line["Value"] for line in chosen]
        axes.plot(*points, "o", color=color, label=", ".join(group))
        for x, y, line in zip(*points, chosen, strict=True):
            axes.annotate(line["Row"].partition(".")[2], (x, y), fontsize=7, xytext=(3, 3), textcoords="offset points")
    axes.set(xlabel="processor ms an image", ylabel="metric", xscale="log")
    if groups:
        axes.legend(frameon=False, fontsize=7)
    axes.grid(alpha=0.3)
    return figure


experiment = Study(file=__file__, doc=__doc__, function=study, smoke={"only": "scenes-fcos", "num_repeats": 1})

if __name__ == "__main__":
    main(experiment)
