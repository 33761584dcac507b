"""The accuracy of a classifier, with what limits it said."""

import math

import numpy as np

from dlcore.data.splits import Splits
from dlcore.experiment.parts import Run
from dlcore.report.classifier_panels import pictures, smoothing_sentences
from dlcore.report.context import ReportContext
from dlcore.report.triage import FEWEST_STEPS

__all__ = ["PLAIN", "Accuracy", "log_classes"]


class Accuracy:
    """Accuracy, loss and calibration, which a classifier's `evaluate` measures."""

    metric = "accuracy"
    mode = "max"

    def explanations(self, run: Run) -> list[str]:
        """Say which loss and which confidence label smoothing leaves."""
        return smoothing_sentences(run.parts.technique.keywords.get("label_smoothing", 0.0), run.facts.num_classes)

    def messages(self, run: Run, splits: Splits) -> list[str]:
        """Say what label smoothing and few steps do to the numbers."""
        ema = run.parts.optimizer.ema
        short = bool(ema) and run.steps < FEWEST_STEPS and not run.flags.smoke
        few = f"{run.steps} steps are few: the average of the weights that is tested (--ema={ema}) lags behind training"
        sentences = [text[0].lower() + text[1:].rstrip(".") for text in self.explanations(run)]
        return [*sentences, *([few] if short else [])]

    def pictures(self, context: ReportContext) -> dict[str, np.ndarray]:
        """Show first-layer filters and the most confident mistakes in TensorBoard."""
        return pictures(context)


def log_classes(run: Run) -> float:
    """Compute the initial loss of equally probable classes.

    Returns:
      Nats.
    """
    return math.log(run.facts.num_classes)


PLAIN = {
    "augment": "none",
    "label_smoothing": 0.0,
    "mixup_alpha": 0.0,
    "cutmix_alpha": 0.0,
    "l2": 0.0,
    "weight_decay": 0.0,
    "l1": 0.0,
    "max_norm": None,
    "ema": None,
    "model.dropout": 0.0,
    "model.input_dropout": 0.0,
    "model.attention_dropout": 0.0,
    "model.aux_dropout": 0.0,
    "model.conv_dropout": 0.0,
    "model.drop_path": 0.0,
    "model.drop_connect": 0.0,
}
"""Flags that switch a classifier's regularization and augmentation off: `Experiment.plain`."""
