"""The accuracy under noisy labels, beside that of plain cross-entropy."""

import math
from typing import Any, ClassVar

from dlcore.experiment.parts import Run
from dlcore.models.encoder import Encoder
from dlcore.report import classifier_panels
from dlcore.report.context import ReportContext
from dlcore.self_supervised import encoders
from dlcore.semi_supervised.noisy_labels import KeepBest

__all__ = ["AccuracyBesideCrossEntropy", "log_classes_of_networks", "technique_panels"]


class AccuracyBesideCrossEntropy:
    """Accuracy beside that of plain cross-entropy, to the end and stopped early by the validation split."""

    metric: ClassVar[str] = "accuracy"
    mode: ClassVar[str] = "max"

    def hooks(self, run: Run) -> list:
        """Keep cross-entropy's network where it knows the validation split best."""
        return [KeepBest()]

    def encoder(self, run: Run) -> Encoder:
        """Describe the technique's network, of co-teaching the first, for fine-tuning."""
        return encoders.encoder(
            run, variables=lambda state: {"params": state.params["technique"], **state.model_state["technique"]}
        )

    def panels(self, context: ReportContext, run: Run) -> list:
        """Show the accuracies of the technique and of cross-entropy."""
        from dlcore.report.semi_supervised import noisy_table

        return [noisy_table(context.numbers)]

    def pictures(self, context: ReportContext) -> dict[str, Any]:
        """Show filters and mistakes in TensorBoard."""
        return classifier_panels.pictures(context)


def log_classes_of_networks(run: Run) -> float:
    """Compute the technique's loss of equal scores and that of cross-entropy; of co-teaching three cross-entropies.

    Returns:
      Nats.
    """
    values, plain = run.parts.technique.keywords, math.log(run.facts.num_classes)
    if values["technique"] == "generalized" and values["q"] > 0:
        return plain + (1 - math.exp(-values["q"] * plain)) / values["q"]
    return (3 if values["technique"] == "co_teaching" else 2) * plain


def technique_panels(context: ReportContext) -> list:
    """Show the panels of a classifier, of the technique.

    Returns:
      Report panels.
    """
    return classifier_panels.panels(
        context._replace(state=context.state.replace(params=context.state.params["technique"]))
    )
