"""Distances of samples, and of reconstructions, to real images in a classifier's features."""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.data.images import NUM_SHOWN
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.evaluators.class_consistency import class_consistency
from dlcore.evaluators.frechet import frechet_evaluator
from dlcore.experiment.experiment import Experiment
from dlcore.experiment.flags import Flags
from dlcore.experiment.parts import Run
from dlcore.learner import CheckedRecord, Evaluator, Range
from dlcore.pretrained.door import is_published
from dlcore.report.samples import NUM_REAL
from dlcore.setting import Setting
from dlcore.weights import small_classifier
from dlcore.weights.network import PACKED, TrainedNetwork, feature_extractor, load_network, open_classifier
from dlcore.weights.open import Weights

__all__ = [
    "SETTINGS",
    "FinalFrechet",
    "Frechet",
    "PriorFrechet",
    "class_features",
    "class_source",
    "evaluators",
    "network_of",
    "origin",
    "reconstruction_evaluators",
]

SETTINGS = {
    **small_classifier.SETTINGS,
    "frechet_network": Setting(
        None,
        "network whose features the Fréchet distance compares, as --network, such as the Inception of published "
        "distances (`dlcore convert FILE --model=inception_v3_fid`); by default that of --network",
        str | None,
        essential=True,
        origin=lambda flags: origin(flags),
    ),
    "num_samples": Setting(1000, "samples for the Fréchet distance at each evaluation", limits=Range(2)),
}
"""The settings of the distances."""


def origin(flags: Flags) -> Weights | None:
    """Read the origin of the network of `--frechet_network`.

    Args:
      flags: `frechet_network`.

    Returns:
      The origin of an evaluation network; None without the flag.

    Raises:
      ValueError: there is no classifier.
    """
    source = flags.frechet_network
    if source is None:
        return None
    weights = open_classifier(source, "frechet_network", headless=is_published(source))
    return weights._replace(initializes=False)


@dataclasses.dataclass(frozen=True)
class Frechet:
    """The Fréchet distance of samples to real images in a classifier's features, and with it KID, precision and recall.

    Args:
      classifier: page that trains the classifier where no flag names one
      num_samples: samples for the Fréchet distance at each evaluation
      monitor: metric that selects the checkpoint; None for the last
      by_class: whether the samples are of each class in turn, which `class_consistency` compares with the classifier's
    """

    classifier: Experiment | None = None
    num_samples: Annotated[int, Range(2)] = 1000
    monitor: Annotated[str | None, "no flag"] = "frechet_distance"
    by_class: Annotated[bool, "no flag"] = False

    metric: ClassVar[str] = "frechet_distance"
    mode: ClassVar[str] = "min"
    settings: ClassVar[dict[str, Setting]] = {k: v for k, v in SETTINGS.items() if k != "num_samples"}
    """The networks whose features are compared."""

    def finish_data(self, splits: Splits, run: Run) -> Splits:
        """Say what is compared; the report shows the first NUM_SHOWN samples."""
        splits = _compared(splits, run.flags)
        if not self.by_class:
            return splits
        return splits._replace(shown=class_source(NUM_SHOWN, splits.spec["num_classes"]))

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Build the evaluators, see `evaluators`; of samples by class also `class_consistency`, of two classes on."""
        distances = evaluators(run, splits, split, self.classifier)
        if not self.by_class:
            return distances
        source = class_source(self.num_samples, run.facts.num_classes)
        distances = [evaluator._replace(source=source) for evaluator in distances]
        if run.facts.num_classes == 1:
            return distances
        features = class_features(run.flags, run.spec, self.classifier)
        return [*distances, class_consistency(lambda images: features(images)[1], source)]

    def pictures(self, context: Any) -> dict[str, np.ndarray]:
        """Show the first samples in TensorBoard."""
        from dlcore.report.generative import picture_grid

        return {"samples": picture_grid(context.outputs["sample"], 8)}


def class_source(count: int, num_classes: int) -> Source:
    """Build a source of labels that cycles through the classes.

    Args:
      count: number of samples.
      num_classes: K.

    Returns:
      A source with `label`.
    """
    check_whole_number("count", count, 1)
    check_whole_number("num_classes", num_classes, 1)
    return Source({"label": (np.arange(count) % num_classes).astype(np.int32)}, count, name="samples")


def class_features(flags: Flags, spec: dict, page: Experiment | None = None) -> Callable:
    """Build the function from images to vectors and probabilities of classes, of the network of `--network`.

    Args:
      spec: facts of the data; must contain `image_shape` and `num_classes`.
      page: page of the small classifier.

    Returns:
      Images [N, H, W, C] -> (vectors [N, D], probabilities [N, K]).
    """
    return feature_extractor(network_of(flags.replace(frechet_network=None), spec, page))


@dataclasses.dataclass(frozen=True)
class FinalFrechet(CheckedRecord):
    """The distances of samples, or of reconstructions, to test images, at the end of a run.

    Args:
      classifier: page that trains the classifier where no flag names one
      num_samples: samples for the Fréchet distance at each evaluation
      outputs: what is compared with test images: samples, or their own reconstructions.
    """

    classifier: Experiment | None = None
    num_samples: Annotated[int, Range(2)] = 1000
    outputs: Annotated[Literal["sample", "reconstruction"], "no flag"] = "sample"

    settings: ClassVar[dict[str, Setting]] = Frechet.settings
    """The networks whose features are compared."""

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Build the evaluators; none for "valid", and no samples of shapes, which no classifier knows."""
        if self.outputs == "reconstruction":
            return reconstruction_evaluators(run, splits, split, self.classifier)
        if run.facts.dataset == "factors":
            return []
        if split == "valid":
            network_of(run.flags, run.spec, self.classifier)  # a bad --network is an error before training
            return []
        return evaluators(run, splits, split, self.classifier)


def _compared(splits: Splits, flags: Flags) -> Splits:
    path = flags.frechet_network or flags.network  # None: a network is trained later
    is_known = path or flags.smoke or splits.spec["num_classes"] == 1
    name = network_of(flags, splits.spec).name if is_known else small_classifier.DEFAULT_MODEL
    no_labels = "; it was trained on CIFAR-10, since these images have no labels"
    num_real = flags.num_samples if flags.smoke else NUM_REAL
    train, test = (f"{min(num_real, len(real)):,}" for real in (splits.train, splits.test))
    message = (
        f"frechet_distance and kid: {flags.num_samples:,} samples against {train} real images of the training split "
        f"while training, {test} of the test split at the end, in features of {name}"
        f"{'' if path or splits.spec['num_classes'] > 1 else no_labels}"
    )
    about = {"frechet_distance": f"{name}, {flags.num_samples:,} samples, {test} real"}
    return splits._replace(
        shown=Source.indices(NUM_SHOWN, "samples"), notes=(*splits.notes, message), spec={**splits.spec, "about": about}
    )


def network_of(flags: Flags, spec: dict, page: Experiment | None = None) -> TrainedNetwork:
    """Load the feature extractor, or train it; images are resized to its input, gray images fill its three channels.

    Args:
      spec: facts of the data; must contain `image_shape` and `num_classes`.
      page: page of the small classifier.

    Returns:
      The network of `--frechet_network`, else of `--network`, else a small classifier of the images; for images without
      labels, and under `--smoke`, the classifier that dlcore ships.
    """
    argument, image_shape = "frechet_network" if flags.frechet_network else "network", spec["image_shape"]
    path = flags.frechet_network or flags.network
    if path is None:
        shipped = spec["num_classes"] == 1 or flags.get("smoke")
        path = PACKED if shipped else small_classifier.find_or_train(flags, page)
    channels = image_shape[-1]
    channels, headless = None if channels == 1 else channels, is_published(path) and bool(flags.frechet_network)
    network = load_network(path, argument, channels=channels, headless=headless)
    resized = network.input_size is None and tuple(np.broadcast_to(network.side, 2)) != tuple(image_shape[:2])
    return network._replace(input_size=network.side) if resized else network


def evaluators(run: Run, splits: Splits, split: str, page: Experiment | None = None) -> list[Evaluator]:
    """Build the evaluators of the distance from samples to training images ("valid") or test images ("test").

    `--frechet_network`, or else `--network`, names the feature extractor.

    Args:
      split: "valid" while training, or "test".
      page: page of the small classifier.

    Returns:
      The Fréchet distance and the kernel distance, and for the test split precision, recall, density and coverage, with
      intervals; none for fewer than two real images.
    """
    features = feature_extractor(network_of(run.flags, run.spec, page))
    real = (splits.train if split == "valid" else splits.test).arrays["image"]
    if len(real) < 2:  # no covariance
        return []
    num_real = run.flags.num_samples if run.flags.get("smoke") else NUM_REAL
    order = np.random.default_rng(0).permutation(len(real))[:num_real]
    reference = features(real[np.sort(order)])[0]
    source = Source.indices(run.flags.num_samples, "samples")
    return [frechet_evaluator(features, reference, source, intervals=split == "test")]


def reconstruction_evaluators(run: Run, splits: Splits, split: str, page: Experiment | None = None) -> list[Evaluator]:
    """Build the evaluators of the distance from reconstructed test images to the test images, at the end of a run.

    `--frechet_network`, or else `--network`, names the feature extractor.

    Args:
      split: "valid" while training, or "test".
      page: page of the small classifier.

    Returns:
      The Fréchet distance and the kernel distance of `reconstruction` among the outputs of `predict`; none for "valid",
      and none for fewer than two images.
    """
    network = network_of(run.flags, run.spec, page)  # a bad --network is an error before training
    images = splits.test.take(run.flags.num_samples)
    if split == "valid" or len(images) < 2:
        return []
    features = feature_extractor(network)
    reference = features(images.arrays["image"][: len(images)])[0]
    return [frechet_evaluator(features, reference, images, "reconstruction")]


class PriorFrechet(FinalFrechet):
    """The distances of samples to test images, at the end of a run that has a prior."""

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Build the evaluators of samples; none for a run without a prior."""
        return super().evaluators(run, splits, split) if run.parts.optimizer.phases(run.steps)[1] else []
