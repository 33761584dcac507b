"""A task: what several techniques share - the data, what a technique needs of them, how results are shown and used.

A task is a frozen dataclass whose fields are flags, with their help in the docstring:

    @dataclasses.dataclass(frozen=True)
    class FewLabels(LabeledImages):
        labels_per_class: Annotated[int, Range(1), "essential"] = 4

    experiment = Experiment(__file__, __doc__, mixmatch.learner, task=FewLabels(unlabeled_ratio=4), optimizer=AdamW())
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import Setting, check_fields, field_settings
from dlcore.experiment.setup import Setup
from dlcore.experiment.splits import Spec, Splits
from dlcore.learner import Learner
from dlcore.report.panel import Panel

__all__ = ["OptionalMethods", "Task"]

WITHOUT_FILES = frozenset(
    {"digits", "photographs", "factors", "scenes", "planted", "shapes", "clips", "strokes", "grammar"}
    | {"pages", "melodies", "topics"}
)
"""Names of `--dataset` that come with dlcore or its packages, or that a program draws."""


class OptionalMethods(Protocol):
    """Methods that a task may have; `Task` has None in place of each."""

    def expected_loss(self, setup: Setup) -> float:
        """Compute the loss at initialization, for `--mode=sanity`.

        Args:
          setup: facts of the run.

        Returns:
          The loss, within `loss_tolerance`.
        """
        ...

    def inputs(self, flags: Flags, spec: Spec) -> tuple[Any, list[str]]:
        """Read what `--input` names, for `--mode=predict`.

        Args:
          flags: `input`, a file or a folder, and the settings of the run.
          spec: facts of the data, `Splits.spec`.

        Returns:
          (source, names of its examples, such as paths).

        Raises:
          FlagError: there is no such input.
          ValueError: files cannot be read, or do not fit the run; the message names them.
        """
        ...

    def drawn(self, flags: Flags, spec: Spec) -> tuple[Any, list[str]]:
        """Build what predict takes without `--input`, such as the indices of samples to generate.

        Args:
          flags: `num_drawn`, and the settings of the run.
          spec: facts of the data, `Splits.spec`.

        Returns:
          (source, names of its examples).

        Raises:
          FlagError: the run cannot generate such samples.
        """
        ...

    def describe(self, outputs: Any, spec: Spec) -> list[dict]:
        """Describe predictions, for `--mode=predict`.

        Args:
          outputs: outputs of the learner's `predict`, one row per example.
          spec: facts of the data, `Splits.spec`.

        Returns:
          One dict per example that predict prints: its `text`, or its `probabilities`, beside what files of results
          need.
        """
        ...

    def write(self, folder: Path, outputs: Any, source: Any, names: list[str], spec: Spec) -> list[Path]:
        """Write predictions as files, for `--mode=predict --output=FOLDER`.

        Args:
          folder: output folder; created if it is missing.
          outputs: outputs of the learner's `predict`, one row per example.
          source: source of the examples, of `inputs` or `drawn`.
          names: names of the examples.
          spec: facts of the data, `Splits.spec`.

        Returns:
          The files.
        """
        ...

    def panels(self, context: Any) -> list[Panel]:
        """Build the panels of the report.

        Args:
          context: the run's `dlcore.report.context.ReportContext`.

        Returns:
          The panels, in the order of the report.
        """
        ...

    def pictures(self, context: Any) -> dict[str, Any]:
        """Draw pictures for TensorBoard.

        Args:
          context: the run's `dlcore.report.context.ReportContext`.

        Returns:
          Name -> image [H, W, C].
        """
        ...

    def encoder(self, setup: Setup) -> Any:
        """Build the encoder of images in the learner's state, by which its features are measured on another data set.

        Args:
          setup: facts of the run.

        Returns:
          A `dlcore.evaluators.fine_tuning.Encoder`. The method is None where the encoder is the network of `--model`,
          or where there is none.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Task(OptionalMethods):
    """Base of tasks.

    A task may also have `model`, `modules`, `external_fields`, `own_fields`, `smoke` and `packages`, of which an
    experiment takes those that its page does not set, and the methods of `OptionalMethods`, which are None here.
    """

    shared_settings: ClassVar[dict[str, Setting]] = {}
    """Flags that are no fields, such as `--init_from`."""
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
        return {**field_settings(self), **self.shared_settings}

    def reads_files(self, flags: Flags) -> bool:
        """Whether `--data_dir` matters: for data sets that are neither part of dlcore nor drawn by a program.

        Args:
          flags: resolved settings.

        Returns:
          True where the data is read from files.
        """
        return flags.get("dataset") not in WITHOUT_FILES

    def data(self, flags: Flags) -> Splits:
        """Load the data.

        Args:
          flags: resolved settings.

        Returns:
          The splits; their `spec` holds what the task's other methods read.

        Raises:
          TypeError: the task has no data.
          FlagError: settings of the data do not go together.
          FileNotFoundError: there are no such files.
          ValueError: the files are not as the task needs them.
          MissingPackage: a package that reads the files is not installed.
        """
        raise TypeError(f"{type(self).__name__} does not say its data")

    def arguments(self, setup: Setup) -> dict[str, Any]:
        """Build what the technique takes besides its flags and the optimizer, such as its model.

        Args:
          setup: facts of the run.

        Returns:
          Keyword arguments of the technique, such as `model`, `preprocess` and `augment`.

        Raises:
          FlagError: settings do not fit the data.
          ValueError: weights or fields do not fit the data.
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
          `start` of `fit`: State -> State with the weights, preferably a `dlcore.weights.start.Start`, which can
          be checked before compilation; None where the settings name no weights. A flag that names weights has
          `origin=` in its Setting.
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
        """
        return []

    def explanations(self, flags: Flags, spec: Spec) -> list[str]:
        """Explain what limits the numbers of a run, in sentences of its report.

        Args:
          flags: the run's settings.
          spec: facts of the data.
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
