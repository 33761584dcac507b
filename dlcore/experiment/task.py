"""A task: what several techniques share - the data, what a technique needs of them, how results are shown and used.

A task is a frozen dataclass whose fields are flags, with their help in the docstring:

    @dataclasses.dataclass(frozen=True)
    class FewLabels(LabeledImages):
        labels_per_class: Annotated[int, Range(1), "essential"] = 4

    experiment = Experiment(__file__, __doc__, mixmatch.learner, task=FewLabels(unlabeled_ratio=4), optimizer=AdamW())
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

from dlcore.experiment.experiment import Experiment, Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import Setting, check_fields, field_settings
from dlcore.experiment.splits import Splits
from dlcore.learner import Learner

__all__ = ["Task"]


@dataclasses.dataclass(frozen=True)
class Task:
    """Base of tasks. Besides the methods below, a task may have any method that is a field of `Experiment`, such as
    `inputs`, `describe`, `write`, `evaluators`, `panels`, `pictures`, `start`, `expected_loss` or `planned`, with the
    arguments that `Experiment` says; and attributes such as `model` and `plain`.
    """

    defaults: ClassVar[dict[str, Any]] = {}
    """Values of the settings of the run and of the model, such as the batch size."""

    def __post_init__(self):
        check_fields(self)

    def settings(self) -> dict[str, Setting]:
        """Collect the flags of the task.

        Returns:
          {field: setting}.
        """
        return field_settings(self)

    def data(self, flags: Flags) -> Splits:
        """Load the data.

        Args:
          flags: resolved settings.

        Returns:
          The splits.

        Raises:
          TypeError: the task has no data.
        """
        raise TypeError(f"{type(self).__name__} does not say its data")

    def arguments(self, setup: Setup) -> dict[str, Any]:
        """Build what the technique takes besides its flags and the optimizer, such as its model.

        Args:
          setup: facts of the run.

        Returns:
          Keyword arguments of the technique.
        """
        return {}

    def wrap(self, learner: Learner, setup: Setup) -> Learner:
        """Add to the technique what the task measures beside it, such as a baseline.

        Args:
          learner: the technique's learner.
          setup: facts of the run.

        Returns:
          The learner that is trained.
        """
        return learner

    def build(
        self,
        technique: Callable[..., Learner],
        optimizer: Any,
        setup: Setup,
        arguments: Callable[[Setup], dict[str, Any]] | None = None,
    ) -> Learner:
        """Build the learner of an experiment.

        Args:
          technique: the technique's factory.
          optimizer: record of the optimizer's flags, with `build(setup)`, and perhaps `wrap(learner, setup)` and
            `parameters`, the parameters of the technique that take an optimizer; None for a technique without one.
          setup: facts of the run.
          arguments: the page's own `arguments`, beside those of the task; of two of one name, the page's is taken.

        Returns:
          The learner.
        """
        values = {**self.arguments(setup), **(arguments(setup) if arguments is not None else {})}
        if optimizer is not None:
            for parameter in getattr(optimizer, "parameters", ("optimizer",)):
                values[parameter] = optimizer.build(setup)
        learner = technique(**values, **setup.flags.group("learner"))
        if (wrap := getattr(optimizer, "wrap", None)) is not None:
            learner = wrap(learner, setup)
        return self.wrap(learner, setup)

    def gives(self) -> list[str]:
        """List what the task gives an experiment.

        Returns:
          Names of fields of `Experiment` that are methods or attributes of the task.
        """
        set_by_page = {"task", "optimizer", "arguments", "build", "settings", "defaults", "filled_from"}
        return [f.name for f in dataclasses.fields(Experiment) if f.name not in set_by_page and hasattr(self, f.name)]
