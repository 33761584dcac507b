"""Shared by experiments whose pretext task is classification: the network, and examples of the task in the report.

experiment = Experiment(
    file=__file__, doc=__doc__, learner=rotation.learner, build=build,
    defaults={**pretext_classifiers.DEFAULTS, "steps": 800},
    panels=partial(pretext_classifiers.panels, task=lambda flags: rotation.rotation), **pretext_classifiers.SHARED
)
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from dlcore.data.augment import Preprocess
from dlcore.data.normalization import normalizer
from dlcore.data.source import Source
from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import Setting
from dlcore.experiment.splits import Splits, batch_facts
from dlcore.kits.images import labeled_images
from dlcore.kits.self_supervised import encoders
from dlcore.kits.training import backbone
from dlcore.learner import Evaluator, Learner, Range, example_keys
from dlcore.modes.report_context import ReportContext
from dlcore.self_supervised.pretext import PieceClassifier, Task

__all__ = [
    "CLIPS",
    "DEFAULTS",
    "SHARED",
    "SMOKE",
    "build",
    "clip_splits",
    "enlarge",
    "panels",
    "task_accuracy",
]

DEFAULTS = {"eval_every": 200, "weight_decay": 1e-4, "select": "last", "steps": 1000, "batch_size": 128}

SMOKE = encoders.SMOKE

SHARED = {
    **{name: value for name, value in encoders.SHARED.items() if name != "panels"},
    "modules": {"head": PieceClassifier},
    "smoke": SMOKE,
    "loss_tolerance": 0.5,
}
"""Arguments of `Experiment` that all of them share."""

SHOWN = 24

HELD_OUT = 500
"""Largest number of clips of the validation and of the test split."""

CLIPS = {
    **SHARED,
    "smoke": {**SMOKE, "num_clips": 150},
    "settings": {
        **{name: setting for name, setting in SHARED["settings"].items() if name not in labeled_images.SETTINGS},
        "num_clips": Setting(2000, "training clips", limits=Range(20)),
    },
}
"""SHARED of pages with synthetic clips."""


def clip_splits(flags: Flags, source: Callable[[int, int], Source], dataset: str, class_names: Sequence[str]) -> Splits:
    """Generate the splits of a data set of clips.

    Args:
      flags: `num_clips` and `seed`.
      source: (count, seed) -> clips, with one frame of each as `image`, [N, H, W, C] uint8, and its `label`.
      dataset: name of the data set.
      class_names: names of the classes, in the order of the labels.

    Returns:
      The splits.
    """
    held_out = min(HELD_OUT, flags.num_clips)
    train, valid, test = (source(n, 3 * flags.seed + k) for k, n in enumerate((flags.num_clips, held_out, held_out)))
    pixels = train.arrays["image"] / 255
    spec = {
        "dataset": dataset,
        "class_names": list(class_names),
        "num_classes": len(class_names),
        "image_shape": list(pixels.shape[1:]),
        "mean": pixels.mean((0, 1, 2)).tolist(),
        "std": pixels.std((0, 1, 2)).tolist(),
        "batch": batch_facts(train) | labeled_images.labeled_batch(pixels.shape[1:]),
    }
    return Splits(train, valid, test, spec)


def enlarge(flags: Flags, spec: dict) -> Preprocess:
    """Build the function from the data's images to a task's input.

    Args:
      flags: `input_size`.
      spec: facts of the data, `Splits.spec`.

    Returns:
      [B, H, W, C], uint8 or float in [0, 1] -> floats in [0, 1], of `--input_size`.
    """
    return normalizer((0.0,), (1.0,), size=labeled_images.input_size(flags, spec))


def build(
    make_learner: Callable[..., Learner], setup: Setup, num_classes: int | None = None, **arguments: Any
) -> Learner:
    """Build the learner of a pretext task from the flags.

    Args:
      make_learner: the technique's factory.
      setup: facts of the run; its flags must contain SHARED.
      num_classes: classes of the pretext task, for a `PieceClassifier`; None if `arguments` has `model`.
      **arguments: arguments of the factory besides its flags.

    Returns:
      The learner, without labels.
    """
    from dlcore.kits.training import optimizer

    flags = setup.flags
    if num_classes is not None:
        encoder = backbone.build(setup, num_classes=1)
        arguments["model"] = PieceClassifier(encoder, num_classes, **flags.group("head"))
    learner = make_learner(
        optimizer=optimizer.build(setup),
        prepare=enlarge(flags, setup.spec),
        normalize=normalizer(setup.spec["mean"], setup.spec["std"], dtype=setup.dtype),
        **flags.group("learner"),
        **arguments,
    )
    return encoders.remove_labels(learner)


def task_accuracy(source: Any, name: str) -> Evaluator:
    """Build the evaluator of a pretext task's accuracy on a source of its own.

    Args:
      source: source of the examples.
      name: name of the metric.

    Returns:
      The evaluator of one metric.
    """

    def add(acc: tuple[int, int] | None, outputs: dict, rows: dict) -> tuple[int, int]:
        num_correct, count = acc or (0, 0)
        return num_correct + int((outputs["guess"] == outputs["target"]).sum()), count + len(outputs["guess"])

    return Evaluator(add, lambda acc: {name: acc[0] / acc[1]}, source, (name,))


def _task_inputs(context: ReportContext, task: Task, count: int) -> Any:
    """Return the pieces of the first test examples, as `predict` gets them, [N, P, h, w, C]."""
    rows = context.data.test[:count]
    rows["image"] = enlarge(context.flags, context.spec)(rows["image"])
    return jax.device_get(jax.jit(jax.vmap(task))(example_keys(context.state.rng, rows), rows)[0])


def _nearest_pieces(context: ReportContext, task: Task, count: int = 1000) -> Any:
    """Show the first piece of some images beside the pieces with the most similar features.

    Args:
      context: the ReportContext.
      task: the learner's task.
      count: number of test images to search.

    Returns:
      A panel.
    """
    from dlcore.report import self_supervised as report

    pieces = _task_inputs(context, task, count)[:, 0]
    labels, features = context.data.test.arrays["label"][:count], context.outputs["pieces"][:count, 0]
    panel = report.nearest_neighbors(pieces, labels, features, context.spec["class_names"])
    return panel._replace(title="Nearest patches", note="Left a patch, then the patches of the most similar features.")


def panels(
    context: ReportContext,
    task: Callable[[Flags], Task],
    names: Sequence[str] = (),
    nearest: bool = False,
    picture: Callable[[Any], np.ndarray] = np.asarray,
) -> list:
    """Show the panels of `encoders.panels`, and examples of the task with predictions.

    Args:
      context: the ReportContext.
      task: flags -> pretext task.
      names: names of the pretext task's classes; by default their numbers.
      nearest: show pieces with similar features.
      picture: function from the pieces of many examples to images [N, P, h, w, C].

    Returns:
      Report panels.
    """
    from dlcore.report import self_supervised as report

    run_task = task(context.flags)
    predicted, target = (context.outputs[name][:SHOWN] for name in ("guess", "target"))
    more = [report.task_sheet(picture(_task_inputs(context, run_task, SHOWN)), target, predicted, names)]
    return encoders.panels(context, [*more, *([_nearest_pieces(context, run_task)] if nearest else [])])
