"""The parts of an experiment: frozen records, whose simple fields are flags and which build themselves.

    data=Images("digits", augmentation=Augmentation("affine")), optimizer=AdamW(learning_rate=1e-3)

A flag replaces a field of a part before anything is built (`with_flags`). The frame asks each part, in the order of the
page, for the methods of `dlcore.experiment.part.Part`. The first of `measures` has the `metric` that selects the
checkpoint, and its `mode`, "max" or "min"; it may have a `monitor`, another metric that selects it, or None for none.
The ledger has the `headline` of that measure, by default its `metric`.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Annotated, Any, Literal

from flax import linen as nn

from dlcore.data.facts import Facts
from dlcore.data.splits import Spec, Splits
from dlcore.experiment.flags import Flags
from dlcore.learner import CheckedRecord, Learner
from dlcore.models.network import Zoo
from dlcore.setting import Setting, flag_prefix, part_settings, with_flags

__all__ = ["Measure", "Parts", "Run", "Sanity"]


@dataclasses.dataclass(frozen=True)
class Run:
    """One training: the parts with the values of its flags, and what is known of its data.

    A part asks it for what others hold; the modes ask it for what the parts build.

    Args:
      page: the parts, as the page has them.
      flags: the resolved settings.
      spec: `Splits.spec`, and `train_size`; {} before the data are loaded.
      steps: length of the training.
      dtype: dtype of the computation.
    """

    page: "Parts"
    flags: Flags
    spec: Spec
    steps: int = 1
    dtype: Any = None

    def replace(self, **changes: Any) -> "Run":
        """Return the run with other values in its fields.

        Args:
          changes: {field: value}.
        """
        return dataclasses.replace(self, **changes)

    @functools.cached_property
    def parts(self) -> "Parts":
        """The parts, with the values of the flags in their fields."""
        return self.page.resolved(self.flags)

    @functools.cached_property
    def facts(self) -> Facts:
        """Facts of the data."""
        return Facts.of(self.spec)

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return self.flags.seed

    @property
    def steps_per_epoch(self) -> float | None:
        """Training steps of an epoch, a fraction too; None where the data have no size."""
        size = self.spec.get("train_size")
        return None if size is None else size / self.flags.batch_size

    def optimizer(self) -> Any:
        """Build the optimizer of all parameters.

        Returns:
          An optax transformation.
        """
        return self.parts.optimizer.build(self.steps, self.steps_per_epoch)

    def load(self) -> Splits:
        """Load the data."""
        data = self.parts.data
        taken = inspect.signature(data.load).parameters
        values = {"seed": self.seed, "batch_size": self.flags.batch_size}
        values["min_classes"] = 1 if self.flags.get("run") else 2
        splits = data.load(**{name: value for name, value in values.items() if name in taken})
        for finish in self.parts.having("finish_data"):
            splits = finish(splits, self)
        return splits

    def planned(self) -> tuple[Spec, Any] | None:
        """Tell the shapes of data that are known without loading them; None for others."""
        data = self.parts.data
        return data.planned() if hasattr(data, "planned") else None

    def check(self) -> None:
        """Check the parts against each other, before the data are loaded."""
        for check in self.parts.having("check"):
            check(self)

    def arguments(self) -> dict[str, Any]:
        """Collect what the parts give the technique, but for its optimizers.

        Returns:
          {parameter: value}, a flax module of the page as `model`.
        """
        values: dict[str, Any] = {}
        for arguments in self.parts.having("arguments"):
            values |= arguments(self)
        if isinstance(self.parts.network, nn.Module):
            values["model"] = self.parts.network.clone(dtype=self.dtype)
        return values

    def build(self) -> Learner:
        """Build the learner: the technique, with those arguments of the parts that it takes."""
        technique, optimizer = self.parts.technique, self.parts.optimizer
        parameters, values = inspect.signature(technique).parameters, self.arguments()
        for name in getattr(optimizer, "parameters", ()):
            values[name] = self.optimizer()
        learner = technique(**{name: value for name, value in values.items() if name in parameters})
        if hasattr(optimizer, "wrap"):
            learner = optimizer.wrap(learner)
        for part in (self.parts.data, self.parts.network, *self.parts.measures):
            learner = part.wrap(learner, self) if hasattr(part, "wrap") else learner
        return learner

    def start(self) -> Any:
        """Build what puts weights into the first state.

        Returns:
          `dlcore.weights.start.Start`; None where no weights are named.
        """
        return next((start for part in self.parts.having("start") if (start := part(self)) is not None), None)

    def rate_of_step(self) -> Callable[[int], float] | None:
        """Build the learning-rate schedule for the log; None where there is none, or it is not known before."""
        optimizer = self.parts.optimizer
        return None if optimizer is None else optimizer.rate_of_step(self.steps, self.steps_per_epoch)

    def hooks(self) -> list:
        """Build hooks of `fit`."""
        return self._all("hooks")

    def report_hooks(self) -> list:
        """Build hooks that only add panels to the report, such as a film; a search, which writes none, has none."""
        return self._all("report_hooks")

    def messages(self, splits: Splits) -> list[str]:
        """List facts that matter to this training, to print before it."""
        return self._all("messages", splits)

    def explanations(self) -> list[str]:
        """Explain what limits the numbers of a run, in sentences of its report."""
        return self._all("explanations")

    def evaluators(self, splits: Splits, split: str) -> list:
        """Build evaluators, which measure the outputs of `predict`.

        Args:
          split: "valid" or "test".

        Returns:
          The evaluators of that split.
        """
        return self._all("evaluators", splits, split)

    def encoder(self) -> Any:
        """Build the encoder of images in the learner's state, by which its features are measured.

        Returns:
          A `dlcore.evaluators.fine_tuning.Encoder`; None where the encoder is the network of `--model`, or there is
          none.
        """
        encoder = next(self.parts.having("encoder"), None)
        return None if encoder is None else encoder(self)

    def panels(self, context: Any) -> list:
        """Build the panels of the report.

        Args:
          context: the run's `dlcore.report.context.ReportContext`.

        Returns:
          The panels, in the order of the report.
        """
        panels = [part.panels(context, self) for part in self.parts if hasattr(part, "panels")]
        panels += [part(context) for part in self.parts.report if callable(part) and not hasattr(part, "panels")]
        return [panel for several in panels for panel in several]

    def pictures(self, context: Any) -> dict[str, Any]:
        """Draw pictures for TensorBoard.

        Args:
          context: the run's `dlcore.report.context.ReportContext`.

        Returns:
          Name -> image [H, W, C].
        """
        pictures: dict[str, Any] = {}
        for draw in self.parts.having("pictures"):
            pictures |= draw(context)
        return pictures

    def _all(self, method: str, *arguments: Any) -> list:
        """Join the lists that the parts with a method build."""
        return [one for build in self.parts.having(method) for one in build(self, *arguments)]


@dataclasses.dataclass(frozen=True)
class Measure(CheckedRecord):
    """A number that the technique's own `evaluate` measures, such as `Measure("iou")`.

    Args:
      metric: its name, of the validation metric that selects the best checkpoint.
      mode: whether the best value is the largest or the smallest.
      headline: test metric of the ledger; None takes `metric`.
    """

    metric: Annotated[str, "no flag"]
    mode: Annotated[Literal["max", "min"], "no flag"] = "max"
    headline: Annotated[str | None, "no flag"] = None


@dataclasses.dataclass(frozen=True)
class Sanity:
    """What `--mode=sanity` expects.

    Args:
      expected_loss: Run -> the loss at initialization; None where it is not known.
      tolerance: relative tolerance of the expected loss; a head with zero initialization matches it exactly.
      plain: values of flags that switch regularization and augmentation off.
      regularizer: flag that scales a penalty.
      overfit: largest loss after overfitting twenty examples; None for losses that do not go to 0.
    """

    expected_loss: Callable[[Run], float] | None = None
    tolerance: float = 0.01
    plain: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    regularizer: str | None = None
    overfit: float | None = None


@dataclasses.dataclass(frozen=True)
class Parts:
    """What an experiment consists of, see `dlcore.experiment.Experiment`.

    Args:
      technique: the technique's factory.
      data: the data set.
      network: the network.
      optimizer: the optimizer.
      measures: what validation and test say; the first is the headline.
      report: functions ReportContext -> panels, or parts with `panels`, `pictures` or `report_hooks`.
      use: what `--mode=predict` takes and says.
      start: the weights to start from.
      sanity: what `--mode=sanity` expects.
    """

    technique: Callable[..., Learner]
    data: Any
    network: Any = None
    optimizer: Any = None
    measures: tuple[Any, ...] = ()
    report: tuple[Any, ...] = ()
    use: Any = None
    start: Any = None
    sanity: Sanity = Sanity()

    def __iter__(self) -> Iterator[Any]:
        """Yield the parts in their order, without those that are missing."""
        parts = (self.data, self.network, self.optimizer, *self.measures, *self.report, self.use, self.start)
        return (part for part in parts if part is not None)

    def having(self, method: str) -> Iterator[Callable]:
        """Find the methods of a name of the parts that have it; a field of that name is none.

        Args:
          method: name of the method.

        Yields:
          The methods, in the order of the parts.
        """
        parts = (part for part in self if method not in getattr(part, "__dataclass_fields__", ()))
        return (getattr(part, method) for part in parts if hasattr(part, method))

    def settings(self) -> dict[str, Setting]:
        """Collect the flags: the simple fields of all parts but those of flax modules.

        Returns:
          {field: setting}.
        """
        settings: dict[str, Setting] = {}
        for part in (*(part for part in self if part is not self.optimizer), self.optimizer):
            settings |= part_settings(part)
        return settings

    def resolved(self, flags: Any) -> "Parts":
        """Return the parts with the values of the flags in their fields.

        Args:
          flags: resolved settings.
        """
        technique = partial(self.technique, **flags.group("learner"))
        return dataclasses.replace(with_flags(self, flags), technique=technique)

    @property
    def headline(self) -> str:
        """The test metric of the ledger, of the first measure."""
        return getattr(self.measures[0], "headline", None) or self.measures[0].metric

    @property
    def mode(self) -> str:
        """Whether the best value of the headline is the largest or the smallest: "max" or "min"."""
        return self.measures[0].mode

    @property
    def monitor(self) -> str | None:
        """The validation metric that selects the checkpoint; None selects the last."""
        return getattr(self.measures[0], "monitor", self.measures[0].metric)

    @property
    def input_kind(self) -> str:
        """What `--input` takes, for messages."""
        return getattr(self.use, "input_kind", "FILE_OR_FOLDER")

    @property
    def zoo(self) -> Zoo | None:
        """The network of the zoo: the page's, or the backbone of the page's; None without one."""
        network = getattr(self.network, "backbone", self.network)
        return network if isinstance(network, Zoo) else None

    def modules(self) -> dict[str, Callable]:
        """Find the flax modules whose fields are flags.

        Returns:
          {prefix of the flags: module's class}.
        """
        if self.network is None:
            return {}
        if isinstance(self.network, nn.Module):
            return {flag_prefix(type(self.network)): partial(type(self.network), **_fields(self.network))}
        return dict(getattr(self.network, "modules", {}))


def _fields(module: nn.Module) -> dict[str, Any]:
    """List the fields of a flax module that the page set."""
    fields = (field for field in dataclasses.fields(module) if field.name not in ("parent", "name"))
    return {field.name: value for field in fields if (value := getattr(module, field.name)) != field.default}
