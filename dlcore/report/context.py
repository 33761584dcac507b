"""Context of report panels: the finished run with its data, predictions and metrics."""

from typing import Any, NamedTuple

from dlcore.data.splits import Spec, Splits
from dlcore.learner import Learner

__all__ = ["ReportContext"]


class ReportContext(NamedTuple):
    """Argument of functions that build report panels: an experiment's `panels`, and hooks' `panels(context)`.

    Args:
      history: rows of metrics.jsonl.
      numbers: the test split's scalar metrics; None for a metric without examples.
      arrays: the test split's metrics that are arrays.
      outputs: outputs of `predict` for the test split, or for `Splits.shown` if the data have it.
      state: the learner's state at the test.
      data: the run's splits.
      spec: `Splits.spec` and `train_size`.
      flags: the run's `dlcore.experiment.Flags`.
      learner: the run's learner.
      run: the `dlcore.experiment.Run`, which builds a learner of other settings.
    """

    history: list[dict[str, Any]]
    numbers: dict[str, float | None]
    arrays: dict[str, Any]
    outputs: Any
    state: Any
    data: Splits
    spec: Spec
    flags: Any
    learner: Learner
    run: Any
