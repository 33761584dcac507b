"""Labeled images: one class each, for classifiers and for what is built on them."""

import dataclasses
import math
from typing import Any

from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.origin import Start
from dlcore.experiment.setting import Setting
from dlcore.experiment.splits import Spec, Splits
from dlcore.kits.images import classifier_panels, known_datasets, labeled_images, prediction
from dlcore.kits.images.labeled_images import ImageFlags
from dlcore.kits.training import backbone
from dlcore.modes.report_context import ReportContext

__all__ = ["Classification", "LabeledImages", "PretrainedClassification"]


@dataclasses.dataclass(frozen=True)
class LabeledImages(ImageFlags):
    """Images with one class each: an embedded set, tfds, or a folder of class folders."""

    plain = classifier_panels.PLAIN
    """Values that switch regularization and augmentation off."""

    def data(self, flags: Flags) -> Splits:
        """Load the splits by name; see `dlcore.kits.images.labeled_images.data`."""
        return labeled_images.data(flags)

    def arguments(self, setup: Setup) -> dict[str, Any]:
        """Build the model, the preprocessing and the augmentation."""
        return {
            "model": backbone.build(setup),
            "preprocess": labeled_images.preprocess(setup),
            "augment": labeled_images.augmentation(setup.flags, setup.spec),
        }

    def inputs(self, flags: Flags, spec: Spec) -> tuple[Any, list[str]]:
        """Read the images under `--input`."""
        return prediction.inputs(flags, spec)

    def describe(self, outputs: Any, spec: Spec) -> list[dict]:
        """Rank the classes of each image.

        Args:
          outputs: outputs of `predict`, with `probabilities: [N, C]`.
        """
        return prediction.describe(outputs, spec)

    def panels(self, context: ReportContext) -> list:
        """Show the panels of a classifier."""
        return classifier_panels.panels(context)

    def pictures(self, context: ReportContext) -> dict[str, Any]:
        """Draw training images for TensorBoard."""
        return classifier_panels.pictures(context)


@dataclasses.dataclass(frozen=True)
class Classification(LabeledImages):
    """Labeled images for a network that learns their classes from random weights."""

    def expected_loss(self, setup: Setup) -> float:
        """Compute the initial loss of equally probable classes."""
        return math.log(setup.spec["num_classes"])

    def planned(self, flags: Flags) -> tuple[Spec, Any] | None:
        """Describe data sets whose shapes are known without loading them."""
        return known_datasets.describe_known_dataset(flags)


@dataclasses.dataclass(frozen=True)
class PretrainedClassification(Classification):
    """Labeled images for a network that may start from trained weights, by `--init_from`."""

    def settings(self) -> dict[str, Setting]:
        """Collect the flags of the task, and `--init_from`."""
        return {**super().settings(), **backbone.SETTINGS}

    def start(self, setup: Setup) -> Start | None:
        """Start from the weights of `--init_from`.

        Args:
          setup: facts of the run.

        Returns:
          State -> State with the weights; None without `--init_from`.
        """
        return backbone.start(setup)
