"""Classification of labels that a technique makes itself, such as a rotation.

network=PieceNetwork(Zoo("resnet8_cifar"), Labels(lambda: rotation.rotation, 4, ["0°", "90°", "180°", "270°"]))
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar

import jax
import numpy as np
from flax import linen as nn

from dlcore.data.augment import Preprocess
from dlcore.data.facts import Facts
from dlcore.data.images import labeled_batch
from dlcore.data.normalization import normalizer
from dlcore.data.source import Source
from dlcore.experiment.flags import Flags
from dlcore.experiment.parts import Run
from dlcore.experiment.splits import Splits, batch_facts
from dlcore.kits.self_supervised import encoders
from dlcore.learner import Range, example_keys
from dlcore.models.network import Zoo
from dlcore.modes.report_context import ReportContext
from dlcore.self_supervised.pretext import PieceClassifier
from dlcore.self_supervised.pretext import Task as PretextTask

__all__ = ["FrameClips", "Labels", "PieceNetwork", "example_panels", "log_labels"]

SHOWN = 24

HELD_OUT = 500
"""Largest number of clips of the validation and of the test split."""


def example_panels(
    context: ReportContext,
    task: PretextTask,
    class_names: Sequence[str],
    prepare: Preprocess,
    *,
    picture: Callable[[Any], np.ndarray] = np.asarray,
    nearest: bool = False,
) -> list:
    """Show examples of a pretext with predictions.

    Args:
      task: (key, example) -> (pieces, label).
      class_names: a name for each class; none for their numbers.
      prepare: images of the data -> floats in [0, 1], of the size that the technique sees.
      picture: pieces of many examples -> [N, P, h, w, C] in [0, 1].
      nearest: whether to show pieces with similar features.

    Returns:
      The panels.
    """
    from dlcore.report import self_supervised as report

    predicted, target = (context.outputs[name][:SHOWN] for name in ("guess", "target"))
    sheet = report.task_sheet(picture(_inputs(context, task, prepare, SHOWN)), target, predicted, class_names)
    return [sheet, *([_nearest_pieces(context, task, prepare)] if nearest else [])]


def _inputs(context: ReportContext, task: PretextTask, prepare: Preprocess, count: int) -> Any:
    """Return the pieces of the first test examples, as `predict` gets them, [N, P, h, w, C]."""
    rows = context.data.test[:count]
    rows["image"] = prepare(rows["image"])
    return jax.device_get(jax.jit(jax.vmap(task))(example_keys(context.state.rng, rows), rows)[0])


def _nearest_pieces(context: ReportContext, task: PretextTask, prepare: Preprocess, count: int = 1000) -> Any:
    """Show the first piece of some images beside the pieces of the first `count` with the most similar features."""
    from dlcore.report import self_supervised as report

    pieces = _inputs(context, task, prepare, count)[:, 0]
    labels, features = context.data.test.arrays["label"][:count], context.outputs["pieces"][:count, 0]
    panel = report.nearest_neighbors(pieces, labels, features, context.spec["class_names"])
    subtitle = "Left a patch, then the patches of the most similar features."
    return panel._replace(title="Nearest patches", subtitle=subtitle)


@dataclasses.dataclass(frozen=True)
class Labels:
    """The labels that a pretext makes itself; what depends on the technique's flags is a function of them.

    Args:
      task: flags of the technique -> `(key, example) -> (pieces, label)`, for the report; None shows no examples.
      num_classes: number of labels, or a function of the run.
      class_names: a name for each label; none for their numbers.
      nearest: whether the report shows pieces with similar features.
      picture: pieces of many examples, or what the pretext makes instead -> [N, P, h, w, C] in [0, 1].
    """

    task: Callable[..., PretextTask] | None
    num_classes: Annotated[int | Callable[[Run], int], "no flag"]
    class_names: Annotated[Sequence[str] | Callable[..., Sequence[str]], "no flag"] = ()
    nearest: Annotated[bool, "no flag"] = False
    picture: Callable[[Any], np.ndarray] = np.asarray


@dataclasses.dataclass(frozen=True)
class PieceNetwork:
    """A backbone of the zoo that sees pieces of an image, and a classifier; flags are `--model` and `--head.FIELD`.

    Args:
      backbone: the backbone.
      labels: labels of the pretext.
      head: fields of the classifier.
      classifier: class of the network, with the field `backbone`.
    """

    backbone: Zoo
    labels: Labels
    head: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    classifier: Callable[..., nn.Module] = PieceClassifier

    @property
    def modules(self) -> dict[str, Callable]:
        """The module by the prefix of its flags."""
        return {"head": partial(self.classifier, **self.head)}

    def with_flags(self, flags: Flags) -> "PieceNetwork":
        """Return the network with the values of its flags in its fields."""
        return dataclasses.replace(self, backbone=self.backbone.with_flags(flags), head=flags.group("head"))

    def num_classes(self, run: Run) -> int:
        """Count the labels of the pretext.

        Returns:
          Their number.
        """
        count = self.labels.num_classes
        return count(run) if callable(count) else count

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique the network as `model`."""
        classes = {"num_classes": self.num_classes(run)} if self.classifier is PieceClassifier else {}
        return {"model": self.classifier(self.backbone.build(1, run.dtype), **classes, **self.head)}

    def encoder(self, run: Run) -> Any:
        """Describe the backbone, which is measured."""
        return encoders.encoder(run.setup)

    def pretext_panels(self, context: ReportContext, run: Run) -> list:
        """Show examples of the pretext with predictions."""
        if self.labels.task is None:
            return []
        settings, names = run.parts.technique.keywords, self.labels.class_names
        return example_panels(
            context,
            self.labels.task(**settings),
            names(**settings) if callable(names) else names,
            run.parts.data.arguments(run)["prepare"],
            picture=self.labels.picture,
            nearest=self.labels.nearest,
        )


def log_labels(run: Run) -> float:
    """Compute the loss of a uniform guess among the labels of the pretext.

    Returns:
      Nats.
    """
    return math.log(run.parts.network.num_classes(run))


@dataclasses.dataclass(frozen=True)
class FrameClips:
    """Synthetic clips, of which the features of single frames are measured.

    Args:
      draw: (count, seed) -> clips, with one frame of each as `image`, [N, H, W, C] uint8, and its `label`.
      dataset: name of the data set.
      frame_classes: names of the classes of the frames, by which features are measured.
      num_clips: training clips
    """

    draw: Callable[[int, int], Source]
    dataset: Annotated[str, "no flag"]
    frame_classes: Annotated[Sequence[str], "no flag"]
    num_clips: Annotated[int, Range(20)] = 2000

    reads_files: ClassVar[bool] = True

    def load(self, seed: int = 0) -> Splits:
        """Draw the splits.

        Args:
          seed: seed of the clips.

        Returns:
          The splits.
        """
        held_out = min(HELD_OUT, self.num_clips)
        counts = (self.num_clips, held_out, held_out)
        train, valid, test = (self.draw(n, 3 * seed + k) for k, n in enumerate(counts))
        pixels = train.arrays["image"] / 255
        facts = Facts(
            dataset=self.dataset,
            class_names=tuple(self.frame_classes),
            image_shape=pixels.shape[1:],
            mean=tuple(pixels.mean((0, 1, 2)).tolist()),
            std=tuple(pixels.std((0, 1, 2)).tolist()),
            batch=batch_facts(train) | labeled_batch(pixels.shape[1:]),
        )
        return Splits(train, valid, test, facts.spec())

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique `prepare`, to floats in [0, 1], and `normalize`."""
        facts = run.facts
        return {
            "prepare": normalizer((0.0,), (1.0,)),
            "normalize": normalizer(facts.mean, facts.std, dtype=run.dtype),
        }
