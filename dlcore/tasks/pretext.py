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

from dlcore.data.augment import Preprocess
from dlcore.data.normalization import normalizer
from dlcore.data.source import Source
from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.parts import Run
from dlcore.experiment.splits import Splits, batch_facts
from dlcore.kits.images import labeled_images
from dlcore.kits.self_supervised import encoders
from dlcore.kits.training import backbone
from dlcore.learner import Evaluator, Range, example_keys
from dlcore.models.network import Zoo
from dlcore.modes.report_context import ReportContext
from dlcore.self_supervised.pretext import PieceClassifier
from dlcore.self_supervised.pretext import Task as PretextTask
from dlcore.tasks.encoders import Encoders
from dlcore.tasks.unlabeled_images import UnlabeledImages

__all__ = [
    "Labels",
    "PieceNetwork",
    "Pretext",
    "PretextClips",
    "PretextImages",
    "enlarge",
    "example_panels",
    "log_labels",
    "task_accuracy",
]

SHOWN = 24

HELD_OUT = 500
"""Largest number of clips of the validation and of the test split."""


@dataclasses.dataclass(frozen=True)
class Pretext(Encoders):
    """A classifier of labels that the technique makes itself; a subclass has the data, the pretext and its classes."""

    modules: ClassVar[dict[str, Callable]] = {"head": PieceClassifier}
    loss_tolerance: ClassVar[float] = 0.5
    defaults: ClassVar[dict[str, Any]] = {**Encoders.defaults, "eval_every": 200, "steps": 1000, "batch_size": 128}

    def num_classes(self, setup: Setup) -> int:
        """Count the classes of the pretext.

        Returns:
          Their number.

        Raises:
          TypeError: the task does not say it.
        """
        raise TypeError(f"{type(self).__name__} does not say its num_classes")

    def pretext(self, flags: Flags) -> PretextTask:
        """Build the function that makes input and label of an example, for the report.

        Returns:
          (key, example) -> (pieces, label).

        Raises:
          TypeError: the task does not say it.
        """
        raise TypeError(f"{type(self).__name__} does not say its pretext")

    def class_names(self, flags: Flags) -> Sequence[str]:
        """Name the classes of the pretext.

        Returns:
          A name for each class; none for their numbers.
        """
        return ()

    def picture(self, pieces: Any) -> np.ndarray:
        """Draw the pieces of many examples.

        Args:
          pieces: [N, P, h, w, C], or what the pretext makes instead.

        Returns:
          [N, P, h, w, C] in [0, 1].
        """
        return np.asarray(pieces)

    def network(self, setup: Setup) -> Any:
        """Build the network: a backbone for all pieces, and a head.

        Returns:
          The flax module.
        """
        encoder = backbone.build(setup, num_classes=1)
        return PieceClassifier(encoder, self.num_classes(setup), **setup.flags.group("head"))

    def arguments(self, setup: Setup) -> dict[str, Any]:
        """Build the network and the preprocessing."""
        spec = setup.spec
        return {
            "model": self.network(setup),
            "prepare": enlarge(setup.flags, spec),
            "normalize": normalizer(spec["mean"], spec["std"], dtype=setup.dtype),
        }

    def expected_loss(self, setup: Setup) -> float:
        """Compute the loss of a uniform guess."""
        return math.log(self.num_classes(setup))

    def pretext_panels(self, context: ReportContext) -> list:
        """Show examples of the pretext with predictions."""
        return example_panels(
            context, self.pretext(context.flags), self.class_names(context.flags), picture=self.picture
        )


def example_panels(
    context: ReportContext,
    task: PretextTask,
    class_names: Sequence[str],
    *,
    picture: Callable[[Any], np.ndarray] = np.asarray,
    nearest: bool = False,
) -> list:
    """Show examples of a pretext with predictions.

    Args:
      task: (key, example) -> (pieces, label).
      class_names: a name for each class; none for their numbers.
      picture: pieces of many examples -> [N, P, h, w, C] in [0, 1].
      nearest: whether to show pieces with similar features.

    Returns:
      The panels.
    """
    from dlcore.report import self_supervised as report

    predicted, target = (context.outputs[name][:SHOWN] for name in ("guess", "target"))
    sheet = report.task_sheet(picture(_inputs(context, task, SHOWN)), target, predicted, class_names)
    return [sheet, *([_nearest_pieces(context, task)] if nearest else [])]


def _inputs(context: ReportContext, task: PretextTask, count: int) -> Any:
    """Return the pieces of the first test examples, as `predict` gets them, [N, P, h, w, C]."""
    rows = context.data.test[:count]
    rows["image"] = enlarge(context.flags, context.spec)(rows["image"])
    return jax.device_get(jax.jit(jax.vmap(task))(example_keys(context.state.rng, rows), rows)[0])


def _nearest_pieces(context: ReportContext, task: PretextTask, count: int = 1000) -> Any:
    """Show the first piece of some images beside the pieces of the first `count` with the most similar features."""
    from dlcore.report import self_supervised as report

    pieces = _inputs(context, task, count)[:, 0]
    labels, features = context.data.test.arrays["label"][:count], context.outputs["pieces"][:count, 0]
    panel = report.nearest_neighbors(pieces, labels, features, context.spec["class_names"])
    subtitle = "Left a patch, then the patches of the most similar features."
    return panel._replace(title="Nearest patches", subtitle=subtitle)


@dataclasses.dataclass(frozen=True)
class Labels:
    """The labels that a pretext makes itself; what depends on the technique's flags is a function of them.

    Args:
      task: flags of the technique -> `(key, example) -> (pieces, label)`.
      num_classes: number of labels.
      class_names: a name for each label.
      nearest: whether the report shows pieces with similar features.
    """

    task: Callable[..., PretextTask]
    num_classes: Annotated[int | Callable[..., int], "no flag"]
    class_names: Annotated[Sequence[str] | Callable[..., Sequence[str]], "no flag"]
    nearest: Annotated[bool, "no flag"] = False


@dataclasses.dataclass(frozen=True)
class PieceNetwork:
    """A backbone of the zoo that sees pieces of an image, and a classifier; flags are `--model` and `--head.FIELD`.

    Args:
      backbone: the backbone.
      labels: labels of the pretext.
      head: fields of the classifier, of `PieceClassifier`
    """

    backbone: Zoo
    labels: Labels
    head: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def modules(self) -> dict[str, Callable]:
        """The module by the prefix of its flags."""
        return {"head": partial(PieceClassifier, **self.head)}

    def with_flags(self, flags: Flags) -> "PieceNetwork":
        """Return the network with the values of its flags in its fields."""
        return PieceNetwork(self.backbone.with_flags(flags), self.labels, flags.group("head"))

    def num_classes(self, run: Run) -> int:
        """Count the labels of the pretext.

        Returns:
          Their number.
        """
        return _of_flags(self.labels.num_classes, run)

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique the network as `model`."""
        return {"model": PieceClassifier(self.backbone.build(1, run.dtype), self.num_classes(run), **self.head)}

    def encoder(self, run: Run) -> Any:
        """Describe the backbone, which is measured."""
        return encoders.encoder(run.setup)

    def pretext_panels(self, context: ReportContext, run: Run) -> list:
        """Show examples of the pretext with predictions."""
        task, names = self.labels.task(**run.parts.technique.keywords), _of_flags(self.labels.class_names, run)
        return example_panels(context, task, names, nearest=self.labels.nearest)


def _of_flags(value: Any, run: Run) -> Any:
    return value(**run.parts.technique.keywords) if callable(value) else value


def log_labels(run: Run) -> float:
    """Compute the loss of a uniform guess among the labels of the pretext.

    Returns:
      Nats.
    """
    return math.log(run.parts.network.num_classes(run))


@dataclasses.dataclass(frozen=True)
class PretextImages(Pretext, UnlabeledImages):
    """Images by name, with labels that the technique makes itself."""


@dataclasses.dataclass(frozen=True)
class PretextClips(Pretext):
    """Synthetic clips, with labels that the technique makes itself; features are those of single frames.

    Args:
      num_clips: training clips
    """

    num_clips: Annotated[int, Range(20)] = 2000

    dataset: ClassVar[str]
    """Name of the data set."""
    frame_classes: ClassVar[Sequence[str]]
    """Names of the classes of the frames, by which features are measured."""

    def clips(self, count: int, seed: int) -> Source:
        """Draw clips.

        Args:
          count: number of clips.
          seed: random seed.

        Returns:
          Clips, with one frame of each as `image`, [N, H, W, C] uint8, and its `label`.

        Raises:
          TypeError: the task has no clips.
        """
        raise TypeError(f"{type(self).__name__} does not say its clips")

    def data(self, flags: Flags) -> Splits:
        """Draw the splits, of `--num_clips`."""
        held_out = min(HELD_OUT, flags.num_clips)
        counts = (flags.num_clips, held_out, held_out)
        train, valid, test = (self.clips(n, 3 * flags.seed + k) for k, n in enumerate(counts))
        pixels = train.arrays["image"] / 255
        spec = {
            "dataset": self.dataset,
            "class_names": list(self.frame_classes),
            "num_classes": len(self.frame_classes),
            "image_shape": list(pixels.shape[1:]),
            "mean": pixels.mean((0, 1, 2)).tolist(),
            "std": pixels.std((0, 1, 2)).tolist(),
            "batch": batch_facts(train) | labeled_images.labeled_batch(pixels.shape[1:]),
        }
        return Splits(train, valid, test, spec)


def enlarge(flags: Flags, spec: dict) -> Preprocess:
    """Build the function from the data's images to a pretext's input.

    Args:
      flags: `input_size`.

    Returns:
      [B, H, W, C], uint8 or float in [0, 1] -> floats in [0, 1], of `--input_size`.
    """
    return normalizer((0.0,), (1.0,), size=labeled_images.input_size(flags, spec))


def task_accuracy(source: Any, name: str) -> Evaluator:
    """Build the evaluator of a pretext task's accuracy on a source of its own.

    Args:
      source: source of the examples.
      name: name of the metric.
    """

    def add(acc: tuple[int, int] | None, outputs: dict, rows: dict) -> tuple[int, int]:
        num_correct, count = acc or (0, 0)
        return num_correct + int((outputs["guess"] == outputs["target"]).sum()), count + len(outputs["guess"])

    return Evaluator(add, lambda acc: {name: acc[0] / acc[1]}, source, (name,))
