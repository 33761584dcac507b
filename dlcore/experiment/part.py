"""What a part of an experiment may have: the methods that the frame asks for, documented once.

A part is a frozen dataclass that has those of these methods that it needs. It derives from nothing: the frame asks each
part of a page, in their order, whether it has the method.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

__all__ = ["Part"]


class Part(Protocol):
    """The methods of parts. `run` is a `dlcore.experiment.parts.Run`, `facts` are `dlcore.data.facts.Facts`."""

    def with_flags(self, flags: Any) -> Any:
        """Replace fields by the values of flags, for a part whose flags are not its simple fields.

        Args:
          flags: resolved settings.

        Returns:
          The part.
        """
        ...

    def load(self, seed: int = 0, batch_size: int = 128, min_classes: int = 2) -> Any:
        """Load the data, of a data set; it takes those of the arguments that it needs.

        Args:
          seed: seed of the run.
          batch_size: examples of a step.
          min_classes: least number of classes of labeled examples; a trained run may be evaluated on one.

        Returns:
          `dlcore.data.splits.Splits`.
        """
        ...

    def finish_data(self, splits: Any, run: Any) -> Any:
        """Check the loaded data, or add to their facts and messages.

        Args:
          splits: the data.
          run: the run, whose facts are not known yet.

        Returns:
          The splits.
        """
        ...

    def planned(self) -> Any:
        """Tell the shapes of data that are known without loading them, for `--mode=plan`.

        Returns:
          (facts as in config.json, one batch); None for other data, which are loaded.
        """
        ...

    def check(self, run: Any) -> None:
        """Check the part against others, before the data are loaded.

        Args:
          run: the run, whose facts are not known yet.
        """
        ...

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique what it takes.

        Args:
          run: the run.

        Returns:
          {parameter: value}; those that the technique does not have are left out.
        """
        ...

    def rate_of_step(self, steps: int, steps_per_epoch: float | None = None) -> Callable[[int], float] | None:
        """Build the learning-rate schedule for the log, of an optimizer.

        Args:
          steps: length of the training.
          steps_per_epoch: training steps of an epoch; None where the data have no size.

        Returns:
          A function from the step, counted from 0, to its learning rate; None where it is not known before the run.
        """
        ...

    def wrap(self, learner: Any, run: Any) -> Any:
        """Add to the technique what is measured beside it, such as a baseline.

        Args:
          learner: the learner.
          run: the run.

        Returns:
          The learner that is trained.
        """
        ...

    def start(self, run: Any) -> Any:
        """Build what puts weights into the first state.

        Args:
          run: the run.

        Returns:
          `dlcore.weights.start.Start`; None where no weights are named.
        """
        ...

    def hooks(self, run: Any) -> list:
        """Build hooks of `fit`.

        Args:
          run: the run.

        Returns:
          The hooks.
        """
        ...

    def report_hooks(self, run: Any) -> list:
        """Build hooks that only add panels to the report, such as a film.

        Args:
          run: the run.

        Returns:
          The hooks.
        """
        ...

    def messages(self, run: Any, splits: Any) -> list[str]:
        """List facts that matter to this training, to print before it.

        Args:
          run: the run.
          splits: the data.
        """
        ...

    def explanations(self, run: Any) -> list[str]:
        """Explain what limits the numbers of a run, in sentences of its report.

        Args:
          run: the run.
        """
        ...

    def evaluators(self, run: Any, splits: Any, split: str) -> list:
        """Build evaluators, which measure the outputs of `predict`.

        Args:
          run: the run.
          splits: the data.
          split: "valid" or "test".

        Returns:
          The evaluators of that split.
        """
        ...

    def encoder(self, run: Any) -> Any:
        """Build the encoder of images in the learner's state, by which its features are measured.

        Args:
          run: the run.

        Returns:
          A `dlcore.evaluators.fine_tuning.Encoder`.
        """
        ...

    def panels(self, context: Any, run: Any) -> list:
        """Build panels of the report.

        Args:
          context: the run's `dlcore.report.context.ReportContext`.
          run: the run.

        Returns:
          The panels, in the order of the report.
        """
        ...

    def pretext_panels(self, context: Any, run: Any) -> list:
        """Build the panels of what a pretext solves in training, of a network or a data set.

        Args:
          context: the run's `dlcore.report.context.ReportContext`.
          run: the run.

        Returns:
          The panels.
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

    def inputs(self, path: str, run: Any) -> tuple[Any, list[str]]:
        """Read what `--input` names, for `--mode=predict`.

        Args:
          path: the value of `--input`.
          run: the run.

        Returns:
          (source, names of its examples, such as paths).
        """
        ...

    def samples(self, run: Any) -> tuple[Any, list[str]]:
        """Build what predict takes without `--input`, such as the indices of samples to generate.

        Args:
          run: the run.

        Returns:
          (source, names of its examples).
        """
        ...

    def describe(self, outputs: Any, facts: Any) -> list[dict]:
        """Describe predictions, for `--mode=predict`.

        Args:
          outputs: outputs of the learner's `predict`, one row per example.
          facts: facts of the data.

        Returns:
          One dict per example that predict prints: its `text`, or its `probabilities`, beside what files of results
          need.
        """
        ...

    def write(self, folder: Path, outputs: Any, source: Any, names: list[str], facts: Any) -> list[Path]:
        """Write predictions as files, for `--mode=predict --output=FOLDER`.

        Args:
          folder: output folder; created if it is missing.
          outputs: outputs of the learner's `predict`, one row per example.
          source: source of the examples, of `inputs` or `samples`.
          names: names of the examples.
          facts: facts of the data.

        Returns:
          The files.
        """
        ...
