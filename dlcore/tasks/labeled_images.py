"""Labeled images: one class each, for classifiers and for what is built on them."""

import dataclasses
import math
from typing import Any

from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.splits import Spec, Splits
from dlcore.kits.images import classifier_panels, labeled_images, prediction
from dlcore.kits.images.labeled_images import ImageFlags
from dlcore.kits.training import backbone
from dlcore.report.triage import FEWEST_STEPS
from dlcore.weights.start import CLASSIFIER, Start, start_classifier

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

    def notes(self, setup: Setup, splits: Splits) -> list[str]:
        """Say what label smoothing and few steps do to the numbers."""
        ema = setup.flags.get("ema")
        short = bool(ema) and setup.steps < FEWEST_STEPS and not setup.flags.smoke
        few = (
            f"{setup.steps} steps are few: the average of the weights that is tested (--ema={ema}) lags behind training"
        )
        sentences = [text[0].lower() + text[1:].rstrip(".") for text in self.explanations(setup.flags, setup.spec)]
        return [*sentences, *([few] if short else [])]

    def explanations(self, flags: Flags, spec: Spec) -> list[str]:
        """Say which loss and which confidence label smoothing leaves."""
        return classifier_panels.smoothing_sentences(flags.get("label_smoothing", 0.0), len(spec["class_names"]))

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

    planned = staticmethod(labeled_images.planned)

    def expected_loss(self, setup: Setup) -> float:
        """Compute the initial loss of equally probable classes."""
        return math.log(setup.spec["num_classes"])


@dataclasses.dataclass(frozen=True)
class PretrainedClassification(Classification):
    """Labeled images for a network that may start from trained weights, by `--init_from`."""

    shared_settings = CLASSIFIER

    def start(self, setup: Setup) -> Start | None:
        """Start from the weights of `--init_from`."""
        return start_classifier(setup)
