"""Put all detectors and segmenters of the ledger into one table: metric, parameters, times of an image and of a step.

python -m experiments.bench.detectors                  (the rows on generated scenes)
python -m experiments.bench.detectors --data_dir=D     (those on real data, too: D/bccd, D/camvid, D/penn_fudan)

Each measured row of the topics detection and segmentation gives a line: its number and its training time are those of
the ledger; the network is built again by the row's command, its parameters are counted, and `predict` is timed on one
image (processor milliseconds, the least of some calls, with weights as initialized; suppression is of fixed size, so
that its time does not depend on them). A training step on a few images is timed likewise, beside a step that trains
the same backbone alone to classify these images: "times the plain step" is the first over the second. A row whose data
are not here keeps the columns of the ledger.
"""

import importlib
import shlex
import statistics
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from dlcore.classification import supervised
from dlcore.experiment import Experiment, Headline, PositiveInt, Study, StudyResult
from dlcore.experiment.parts import Run
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.learner import Learner
from dlcore.main import main
from dlcore.models import described_model
from dlcore.report.figure import PALETTE, new_figure
from experiments import ledger

TOPICS = ("detection", "segmentation")
LEDGER = Path(__file__).resolve().parents[1] / "results.jsonl"
FEW = {"num_scenes": 64}
"""Settings that make data small, where only its shapes are needed."""
STEP_IMAGES = 8
"""Images of a training step that is timed."""
COLUMNS = ("parameters", "ms an image", "ms a step", "times the plain step")
"""What is measured of a network."""


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The measured rows of trained networks in the topics, by data set, the best first."""
    rows = [row for row in ledger.read(path) if row["status"] == ledger.MEASURED and "claim" not in row]
    rows = [row for row in rows if module_of(row["command"]).split(".")[0] in TOPICS]
    return sorted(rows, key=lambda row: (module_of(row["command"]).split(".")[0], row["dataset"], -row["mean"]))


def module_of(command: str) -> str:
    """The module that a command runs, as topic.stem."""
    return command.split()[2].removeprefix("experiments.")


def least_milliseconds(function, *arguments: Any, repeats: int) -> float:
    """Measure the processor milliseconds of a compiled function: the least of some calls."""
    compiled, times = jax.jit(function), []
    jax.block_until_ready(compiled(*arguments))
    for _ in range(repeats):
        start = time.process_time()
        jax.block_until_ready(compiled(*arguments))
        times.append(time.process_time() - start)
    return 1000 * min(times)


def step_milliseconds(learner: Learner, batch: dict[str, np.ndarray], repeats: int) -> float:
    """Measure the processor milliseconds of a training step."""
    state = jax.jit(learner.init)(jax.random.key(0), batch)
    return least_milliseconds(learner.update, state, batch, repeats=repeats)


def classifier_of(run: Run) -> Learner:
    """Build the learner that trains the backbone of a network alone."""
    optimizer = optax.sgd(0.01, momentum=0.9)
    return supervised.learner(
        model=described_model.build(run), optimizer=optimizer, preprocess=lambda image: image.astype(np.float32) / 255
    )


def network_of(command: str, data_dir: str, repeats: int) -> dict[str, float | None]:
    """Build the network of a command, and measure `COLUMNS`; no plain step where the network has no `--model`."""
    experiment = importlib.import_module(f"experiments.{module_of(command)}").experiment
    if not isinstance(experiment, Experiment):
        raise ValueError(f"{command}: trains nothing; allowed: an experiment with a learner")
    words = [word.replace("$DATA_DIR", data_dir) for word in shlex.split(command)[3:]]
    few = {name: value for name, value in FEW.items() if name in experiment.settings}
    unused = tuple(f"--{name}=" for name in (*few, "init_from"))
    words = [word for word in words if not word.startswith(unused)]
    resolved = ResolvedRun(experiment, resolve(experiment, [*words, *(f"--{k}={v}" for k, v in few.items())]))
    splits = experiment.run(resolved.flags).load()
    run = resolved.training_of(splits)
    learner, example = run.build(), resolved.example(splits.facts)
    batch = {name: values[:1] for name, values in example.items()}
    batch["image"] = np.asarray(splits.test.arrays["image"][:1])
    state = jax.jit(learner.init)(jax.random.key(0), batch)
    arrays = splits.train.arrays
    rows = {name: np.asarray(arrays.get(name, values)[:STEP_IMAGES]) for name, values in example.items()}
    step = step_milliseconds(learner, rows, repeats)
    plain = None
    if "model" in resolved.flags:
        labels = np.zeros(len(rows["image"]), np.int32)
        plain = step_milliseconds(classifier_of(run), {**rows, "label": labels}, repeats)
    values = (
        sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        least_milliseconds(learner.predict, state, batch, repeats=repeats),
        step,
        None if plain is None else step / plain,
    )
    return dict(zip(COLUMNS, values, strict=True))


def line_of(row: dict[str, Any], data_dir: str, repeats: int) -> dict[str, Any]:
    """The columns of one row of the ledger; None for what is not measured as its data are not here."""
    needs = "$DATA_DIR" in row["command"]
    folder = Path(data_dir) / row["dataset"]
    if needs and data_dir and not folder.is_dir():
        raise ValueError(f"data_dir={data_dir}: no folder {row['dataset']} in it, which {row['id']} needs")
    built = network_of(row["command"], str(folder), repeats) if data_dir or not needs else dict.fromkeys(COLUMNS)
    return {
        "data": row["dataset"],
        "metric": row["metric"].removeprefix("test "),
        "value": row["mean"],
        **built,
        "minutes to train": statistics.fmean(row["wall_seconds"].values()) / 60,
    }


def study(*, results: str = "", data_dir: str = "", num_repeats: PositiveInt = 5, only: str = "") -> StudyResult:
    """Build the table.

    Args:
      results: a ledger; this checkout's by default.
      data_dir: holds a folder for each data set of the rows on real data; empty leaves their networks out.
      num_repeats: calls of predict, and of each step, that are timed.
      only: rows whose id contains this text; empty takes all.
    """
    rows = [row for row in rows_of(Path(results) if results else LEDGER) if only in row["id"]]
    if not rows:
        raise ValueError(f"only={only!r}: no measured row of {', '.join(TOPICS)}; allowed: a part of an id")
    lines = {row["id"]: line_of(row, data_dir, num_repeats) for row in rows}
    best: dict[tuple[str, str], str] = {}
    for name, line in lines.items():
        best.setdefault((line["data"], line["metric"]), name)
    verdict = f"{len(lines)} networks. The best: " + "; ".join(
        f"{data}, {metric}: {name} {lines[name]['value']:.3f}" for (data, metric), name in best.items()
    )
    leader = lines[best["scenes", "map"]] if ("scenes", "map") in best else next(iter(lines.values()))
    headline = Headline(f"the best {leader['metric']}", leader["value"], leader["data"])
    return StudyResult(lines, verdict + ".", {"networks": draw(lines)}, headline=headline)


def draw(lines: dict[str, dict[str, Any]]):
    """Draw a row of dots for each network: its metric, its time on an image, and its training time."""
    columns = (
        ("value", "metric"),
        ("ms an image", "ms an image"),
        ("times the plain step", "step over plain step"),
        ("minutes to train", "minutes to train"),
    )
    figure, panels = new_figure(
        (9.0, 1.0 + 0.24 * len(lines)), 1, len(columns), sharey=True, width_ratios=(2, 1, 1, 1), grid="both"
    )
    groups = list(dict.fromkeys((line["data"], line["metric"]) for line in lines.values()))
    for axes, (name, label) in zip(panels, columns, strict=True):
        for line_index, line in enumerate(lines.values()):
            if line[name] is not None:
                color = PALETTE[groups.index((line["data"], line["metric"])) % len(PALETTE)]
                axes.plot(line[name], line_index, "o", color=color, markersize=5)
        measured = [line[name] for line in lines.values() if line[name] is not None]
        axes.set(xlabel=label, xlim=(0, 1.08 * max(measured, default=1.0)))
    names = [f"{name}  ({line['metric'].replace('_', ' ')})" for name, line in lines.items()]
    panels[0].set_yticks(range(len(lines)), names, fontsize=8)
    panels[0].set_ylim(len(lines) - 0.5, -0.5)
    return figure


experiment = Study(__file__, __doc__, study, smoke={"only": "scenes-fcos", "num_repeats": 1})

if __name__ == "__main__":
    main(experiment)
