"""A task: what several techniques share - the data, what a technique needs of them, how results are shown and used.

A task is a frozen dataclass whose fields are flags, with their help in the docstring:

    @dataclasses.dataclass(frozen=True)
    class FewLabels(LabeledImages):
        labels_per_class: Annotated[int, Range(1), "essential"] = 4

    experiment = Experiment(__file__, __doc__, mixmatch.learner, task=FewLabels(unlabeled_ratio=4), optimizer=AdamW())
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, Literal

from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import Setting, check_fields, field_settings
from dlcore.experiment.splits import Spec, Splits
from dlcore.learner import Learner

__all__ = ["Task"]


@dataclasses.dataclass(frozen=True)
class Task:
    """Base of tasks. A task may also have `model`, `modules`, `external_fields`, `smoke` and `packages`, of which an
    experiment takes those that its page does not set, and any of these, which are None here:

    - `expected_loss(setup)`: the loss at initialization, for `--mode=sanity`.
    - `inputs(flags, spec)` -> (source, names) of what `--input` names; `drawn(flags, spec)`: the same without
      `--input`, such as the indices of samples to generate.
    - `describe(outputs, spec)` -> one dict per example that predict prints: its `text`, or its `probabilities`.
    - `write(folder, outputs, source, names, spec)` -> the files that `--mode=predict --output=FOLDER` writes.
    - `panels(context)` -> panels of the report; `pictures(context)` -> name to image [H, W, C] for TensorBoard.
    - `encoder(setup)` -> the `dlcore.evaluators.fine_tuning.Encoder` of images in the learner's state, by which its
      features are measured on another data set; None where it is the network of `--model`, or where there is none.
    """

    defaults: ClassVar[dict[str, Any]] = {}
    """Values of the settings of the run and of the model, such as the batch size."""
    monitor: ClassVar[str | None] = "accuracy"
    """Validation metric that selects the best checkpoint; None selects the last."""
    monitor_mode: ClassVar[Literal["max", "min"]] = "max"
    """Whether the best value of the monitor is the largest or the smallest."""
    headline: ClassVar[str] = "accuracy"
    """Test metric of the ledger."""
    input_kind: ClassVar[str] = "FILE_OR_FOLDER"
    """What `--input` takes, for the message where it is missing."""
    loss_tolerance: ClassVar[float] = 0.01
    """Relative tolerance of the expected loss; a head with zero initialization matches it exactly."""
    plain: ClassVar[dict[str, Any]] = {}
    """Values that switch regularization and augmentation off, for `--mode=sanity`."""
    regularizer: ClassVar[str | None] = None
    """Flag that scales a penalty, for `--mode=sanity`."""
    overfit: ClassVar[float | None] = None
    """Largest loss after overfitting twenty examples, for `--mode=sanity`; None for losses that do not go to 0."""
    expected_loss: ClassVar[Any] = None
    inputs: ClassVar[Any] = None
    drawn: ClassVar[Any] = None
    describe: ClassVar[Any] = None
    write: ClassVar[Any] = None
    panels: ClassVar[Any] = None
    pictures: ClassVar[Any] = None
    encoder: ClassVar[Any] = None

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

    def check(self, flags: Flags) -> None:
        """Check the settings against each other, before the data is loaded.

        Args:
          flags: resolved settings.

        Raises:
          FlagError: settings do not go together.
        """

    def planned(self, flags: Flags) -> tuple[Spec, Any] | None:
        """Tell the shapes of data that is known without loading it, for `--mode=plan`.

        Args:
          flags: resolved settings.

        Returns:
          (spec, one batch); None for other data, which is loaded.
        """
        return None

    def start(self, setup: Setup) -> Callable[[Any], Any] | None:
        """Build what puts weights into the first state, if the settings name any.

        Args:
          setup: facts of the run.

        Returns:
          `start` of `fit`, preferably a `dlcore.experiment.weights.Start`, which can be checked before compilation. A
          flag that names weights has `origin=` in its Setting.
        """
        return None

    def hooks(self, setup: Setup) -> list:
        """Build hooks of `fit`.

        Args:
          setup: facts of the run.

        Returns:
          The hooks.
        """
        return []

    def report_hooks(self, setup: Setup, build: Callable[[Setup], Learner]) -> list:
        """Build hooks that only add panels to the report, such as a film; a search, which writes none, has none.

        Args:
          setup: facts of the run.
          build: the experiment's `build`.

        Returns:
          The hooks.
        """
        return []

    def schedule(self, setup: Setup) -> Callable[[int], float] | None:
        """Build the schedule of a technique without an optimizer record, for the log.

        Args:
          setup: facts of the run.

        Returns:
          Function from the step, counted from 0, to its learning rate; None logs none.
        """
        return None

    def notes(self, setup: Setup, splits: Splits) -> list[str]:
        """List facts of the data that matter to this model, to print before training.

        Args:
          setup: facts of the run.
          splits: the data.

        Returns:
          The lines.
        """
        return []

    def evaluators(self, setup: Setup, splits: Splits, split: str) -> list:
        """Build evaluators, which measure the outputs of `predict`.

        Args:
          setup: facts of the run.
          splits: the data.
          split: "valid" or "test".

        Returns:
          The evaluators of that split.
        """
        return []
