"""The parts of an experiment: frozen records, whose simple fields are flags and which build themselves.

    data=Images("digits", augmentation=Augmentation("affine")), optimizer=AdamW(learning_rate=1e-3)

A flag replaces a field of a part before anything is built (`with_flags`). The frame asks each part, in the order of the
page, for the methods of `dlcore.experiment.part.Part`. The first of `measures` has the `metric` that selects the
checkpoint, and its `mode`, "max" or "min"; it may have a `monitor`, another metric that selects it, or None for none.
The ledger has the `headline` of that measure, by default its `metric`.
"""

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

from flax import linen as nn

from dlcore.data.facts import Facts
from dlcore.experiment.setting import Setting, field_settings
from dlcore.learner import Learner
from dlcore.models.network import Zoo, flag_prefix

__all__ = ["Measure", "Parts", "Run", "Sanity", "part_settings", "with_flags"]


class Run(NamedTuple):
    """What a part may know of the run that it is in.

    Args:
      facts: facts of the data.
      steps: length of the training.
      steps_per_epoch: training steps of an epoch; None where the data have no size.
      dtype: dtype of the computation.
      seed: seed of the run.
      parts: the parts of the experiment, with the values of the flags.
      setup: the run's `Setup`, for functions that read flags.
    """

    facts: Facts
    steps: int
    steps_per_epoch: float | None
    dtype: Any
    seed: int
    parts: "Parts"
    setup: Any


@dataclasses.dataclass(frozen=True)
class Measure:
    """A number that the technique's own `evaluate` measures, such as `Measure("iou")`.

    Args:
      metric: its name.
      mode: whether the best value is the largest or the smallest.
    """

    metric: Annotated[str, "no flag"]
    mode: Annotated[Literal["max", "min"], "no flag"] = "max"


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
      report: functions ReportContext -> panels, or parts with `panels`.
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
        """Find the methods of a name of the parts that have it.

        Args:
          method: name of the method.

        Yields:
          The methods, in the order of the parts.
        """
        return (getattr(part, method) for part in self if hasattr(part, method))

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

    def arguments(self, run: Run) -> dict[str, Any]:
        """Collect what the parts give the technique, but for its optimizers.

        Args:
          run: the run.

        Returns:
          {parameter: value}, a flax module of the page as `model`.
        """
        values: dict[str, Any] = {}
        for arguments in self.having("arguments"):
            values |= arguments(run)
        if isinstance(self.network, nn.Module):
            values["model"] = self.network.clone(dtype=run.dtype)
        return values

    def build(self, run: Run) -> Learner:
        """Build the learner: the technique, with those arguments of the parts that it takes.

        Args:
          run: the run.
        """
        parameters, values = inspect.signature(self.technique).parameters, self.arguments(run)
        for name in getattr(self.optimizer, "parameters", ()):
            values[name] = self.optimizer.build(run.steps, run.steps_per_epoch)
        learner = self.technique(**{name: value for name, value in values.items() if name in parameters})
        if hasattr(self.optimizer, "wrap"):
            learner = self.optimizer.wrap(learner)
        for part in (self.data, self.network, *self.measures):
            learner = part.wrap(learner, run) if hasattr(part, "wrap") else learner
        return learner

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


def part_settings(part: Any) -> dict[str, Setting]:
    """Collect the simple fields of a part, and of the parts in it, as flags.

    Args:
      part: a frozen dataclass; a function or a flax module has none.

    Returns:
      {field: setting}; `part.settings` adds flags that are no fields.
    """
    if not _is_record(part):
        return {} if getattr(part, "is_page", False) else dict(getattr(part, "settings", {}))
    settings = field_settings(part)
    for field in dataclasses.fields(part):
        settings |= part_settings(getattr(part, field.name))
    return settings | getattr(part, "settings", {})


def with_flags(part: Any, flags: Any) -> Any:
    """Replace the fields of a part, and of the parts in it, by the values of their flags.

    Args:
      part: a part, or a tuple of parts; a function stays as it is.
      flags: resolved settings.

    Returns:
      The part.
    """
    if type(part) is tuple:
        return tuple(with_flags(inner, flags) for inner in part)
    if isinstance(part, nn.Module):
        return part.clone(**flags.group(flag_prefix(type(part))))
    if not _is_record(part):
        return part
    if hasattr(part, "with_flags"):
        return part.with_flags(flags)
    simple = {name: flags[name] for name in field_settings(part) if name in flags}
    inner = {
        field.name: with_flags(value, flags)
        for field in dataclasses.fields(part)
        if _is_record(value := getattr(part, field.name)) or isinstance(value, nn.Module | tuple)
    }
    return dataclasses.replace(part, **{**inner, **simple})


def _is_record(part: Any) -> bool:
    """Return whether a value is a part with fields: no flax module, and not the object of another page."""
    is_other = isinstance(part, nn.Module | type) or getattr(part, "is_page", False)
    return dataclasses.is_dataclass(part) and not is_other


def _fields(module: nn.Module) -> dict[str, Any]:
    """List the fields of a flax module that the page set."""
    fields = (field for field in dataclasses.fields(module) if field.name not in ("parent", "name"))
    return {field.name: value for field in fields if (value := getattr(module, field.name)) != field.default}
