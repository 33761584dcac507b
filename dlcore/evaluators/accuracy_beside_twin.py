"""The accuracy of a semi-supervised technique, beside that of its twin, which has only the labels."""

import dataclasses
import math
from typing import Annotated, Any, ClassVar

from dlcore.experiment.parts import Run
from dlcore.learner import Learner
from dlcore.report import classifier_panels
from dlcore.report.context import ReportContext
from dlcore.semi_supervised.twin import TwinState, add_twin
from dlcore.semi_supervised.two_streams import averaging, supervised_only, two_stream_learner

__all__ = ["AccuracyBesideTwin", "log_classes_of_twins", "technique_panels"]


@dataclasses.dataclass(frozen=True)
class AccuracyBesideTwin:
    """Accuracy beside that of the supervised baseline on the labeled images alone, and the gain.

    Args:
      twin: also train the supervised baseline on the labeled images alone, which about doubles the time
    """

    twin: Annotated[bool, "if changed"] = True

    metric: ClassVar[str] = "accuracy"
    mode: ClassVar[str] = "max"

    def wrap(self, learner: Learner, run: Run) -> Learner:
        """Add the supervised baseline."""
        if not self.twin:
            return learner
        values = {**run.parts.data.images.arguments(run), **run.parts.network.arguments(run)}
        values = {name: values[name] for name in ("model", "preprocess", "augment") if name in values}
        values["optimizer"] = run.parts.optimizer.build(run.steps, run.steps_per_epoch)
        decay = run.parts.technique.keywords.get("ema_decay")
        teacher = None if decay is None else averaging(decay)
        return add_twin(learner, two_stream_learner(**values, technique=supervised_only, teacher=teacher))

    def panels(self, context: ReportContext, run: Run) -> list:
        """Show the gain by unlabeled images."""
        from dlcore.report.semi_supervised import twin_table

        return [twin_table(context.numbers)] if self.twin else []

    def pictures(self, context: ReportContext) -> dict[str, Any]:
        """Show filters and mistakes in TensorBoard."""
        return classifier_panels.pictures(context)


def log_classes_of_twins(run: Run) -> float:
    """Compute the initial loss, log C, as a technique's unlabeled loss starts at 0; with the baseline 2 log C.

    Returns:
      Nats.
    """
    return (2 if run.parts.measures[0].twin else 1) * math.log(run.facts.num_classes)


def technique_panels(context: ReportContext) -> list:
    """Show the share of wrong pseudo-labels where a technique has them, and the panels of a classifier.

    Returns:
      Report panels.
    """
    from dlcore.report.semi_supervised import pseudo_label_table

    state = context.state
    if isinstance(state, TwinState):
        state = state.replace(params=state.params["technique"])
    labeled = context._replace(data=context.data._replace(train=context.data.train["labeled"]), state=state)
    return [*pseudo_label_table(context.history), *classifier_panels.panels(labeled)]
