"""Classification of labels that a technique makes itself, such as a rotation.

network=PieceNetwork(Zoo("resnet8_cifar"), Labels(lambda: rotation.rotation, 4, ["0°", "90°", "180°", "270°"]))
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any

import jax
import numpy as np
from flax import linen as nn

from dlcore.data.augment import Preprocess
from dlcore.learner import example_keys
from dlcore.models.network import Zoo
from dlcore.report.context import ReportContext
from dlcore.self_supervised import encoders
from dlcore.self_supervised.pretext import PieceClassifier
from dlcore.self_supervised.pretext import Task as PretextTask

__all__ = ["Labels", "PieceNetwork", "example_panels", "log_labels"]

SHOWN = 24


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
    num_classes: Annotated[int | Callable[[Any], int], "no flag"]
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

    def num_classes(self, run: Any) -> int:
        """Count the labels of the pretext.

        Returns:
          Their number.
        """
        count = self.labels.num_classes
        return count(run) if callable(count) else count

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the network as `model`."""
        classes = {"num_classes": self.num_classes(run)} if self.classifier is PieceClassifier else {}
        return {"model": self.classifier(self.backbone.build(1, run.dtype), **classes, **self.head)}

    def encoder(self, run: Any) -> Any:
        """Describe the backbone, which is measured."""
        return encoders.encoder(run)

    def pretext_panels(self, context: ReportContext, run: Any) -> list:
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


def log_labels(run: Any) -> float:
    """Compute the loss of a uniform guess among the labels of the pretext.

    Returns:
      Nats.
    """
    return math.log(run.parts.network.num_classes(run))
