"""Labeled images: one class each, for classifiers and for what is built on them."""

import dataclasses
import math
from typing import Any

from dlcore.experiment.experiment import Setup
from dlcore.experiment.weights import Start
from dlcore.kits.images import classifier_panels, known_datasets, labeled_images, prediction
from dlcore.kits.images.labeled_images import ImageFlags
from dlcore.kits.training import backbone, init_from

__all__ = ["Classification", "LabeledImages", "PretrainedClassification"]


@dataclasses.dataclass(frozen=True)
class LabeledImages(ImageFlags):
    """Images with one class each: an embedded set, tfds, or a folder of class folders."""

    plain = classifier_panels.PLAIN
    """Values that switch regularization and augmentation off."""

    data = staticmethod(labeled_images.data)
    inputs = staticmethod(prediction.inputs)
    describe = staticmethod(prediction.describe)
    panels = staticmethod(classifier_panels.panels)
    pictures = staticmethod(classifier_panels.pictures)

    def arguments(self, setup: Setup) -> dict[str, Any]:
        """Build the model, the preprocessing and the augmentation."""
        return {
            "model": backbone.build(setup),
            "preprocess": labeled_images.preprocess(setup),
            "augment": labeled_images.augmentation(setup.flags, setup.spec),
        }


@dataclasses.dataclass(frozen=True)
class Classification(LabeledImages):
    """Labeled images for a network that learns their classes from random weights."""

    planned = staticmethod(known_datasets.describe_known_dataset)

    def expected_loss(self, setup: Setup) -> float:
        """Compute the initial loss of equally probable classes."""
        return math.log(setup.spec["num_classes"])


@dataclasses.dataclass(frozen=True)
class PretrainedClassification(Classification):
    """Labeled images for a network that may start from trained weights, by `--init_from`."""

    shared_settings = init_from.CLASSIFIER

    def start(self, setup: Setup) -> Start | None:
        """Start from the weights of `--init_from`."""
        return init_from.start_classifier(setup)
