"""The record that an experiment file defines: its parts, in the order in which one would say them.

experiment = Experiment(
    __file__,
    __doc__,
    technique=edm.learner,
    data=Images("digits", valid_fraction=0.1),
    network=UNet(width=32),
    optimizer=AdamW(learning_rate=1e-3, schedule="cosine"),
    length=Epochs(300, batch_size=128),
    measures=[Frechet(num_samples=1000)],
)
if __name__ == "__main__":
    main(experiment)

`dlcore.experiment.parts` says what a part is. Pages that are older have `learner=` and `task=` in their place.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from dlcore.experiment.parts import Parts, Sanity
from dlcore.experiment.setting import Setting, field_settings
from dlcore.experiment.setup import Setup
from dlcore.experiment.task_of_parts import TaskOfParts
from dlcore.learner import Learner, is_record

__all__ = ["Experiment", "Merged", "Setup", "name_of"]


def name_of(file: str) -> str:
    """Name an experiment by its file.

    Args:
      file: a path.

    Returns:
      `<topic>.<stem>`.
    """
    path = Path(file).resolve()
    return f"{path.parent.name}.{path.stem}"


class Merged(NamedTuple):
    """What the flags of an experiment come from: what its task gives, and what the page gives in its place.

    Args:
      settings: flags of the task, of the optimizer and of the page.
      defaults: default values of flags; the page's before the task's.
      smoke: values under `--smoke`.
      model: default of `--model`; None: there is no such flag.
      modules: flax modules by prefix.
      external_fields: fields of modules that are no flags.
      own_fields: fields of modules that published weights do not set.
      packages: names of required packages.
    """

    settings: dict[str, Setting]
    defaults: dict[str, Any]
    smoke: dict[str, Any]
    model: str | None
    modules: dict[str, Callable]
    external_fields: tuple[str, ...]
    own_fields: tuple[str, ...]
    packages: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Experiment:
    """An experiment: a technique, its task, its optimizer and the values of its flags.

    Args:
      file: `__file__` of the experiment file.
      doc: `__doc__` of the experiment file.
      technique: the technique's factory; its simple parameters become flags, with the page's values in a
        `functools.partial`.
      data: the data set: source, splits, augmentation.
      network: a flax module, whose simple fields become flags `--unet.FIELD`, or a part that builds one.
      length: `Epochs` or `Steps`: the length, the batches and the validations.
      measures: what validation and test say; the first is the headline.
      report: functions ReportContext -> panels, or parts with `panels`.
      use: what `--mode=predict` takes and says.
      start: the weights to start from.
      sanity: what `--mode=sanity` expects.
      learner: in place of `technique`, of a page with a task.
      task: data, measures, report and use, which techniques share, see `dlcore.experiment.task.Task`.
      optimizer: record of the optimizer's flags, with `build(setup)` and `rate_of_step(setup)`; None for a technique
        without one.
      arguments: Setup -> what the technique takes besides its flags and the optimizer, such as its networks, beside
        the task's `arguments`.
      model: the default of `--model`; its simple fields become `--model.FIELD`. None takes the task's.
      modules: flax modules by prefix; the simple fields of `modules["unet"]` become `--unet.FIELD`. Empty takes the
        task's.
      external_fields: names such as "unet.channels" of fields that `build` sets from the data: no flags.
      own_fields: names of fields that published weights do not set, such as those of a pretext's decoder.
      settings: the experiment's own flags, beside those of the task and the optimizer.
      defaults: values that replace the defaults of the settings, the signature and the modules.
      smoke: values under `--smoke`; empty takes the task's.
      packages: names of required packages in `dlcore.extras`, checked before any work; empty takes the task's.
    """

    is_page: ClassVar[bool] = True
    """A part that names a page has its object, which is no part."""

    file: str
    doc: str
    learner: Any = None
    task: Any = None
    optimizer: Any = None
    arguments: Callable[[Setup], dict[str, Any]] | None = None
    model: str | None = None
    modules: dict[str, Callable] = dataclasses.field(default_factory=dict)
    external_fields: tuple[str, ...] = ()
    own_fields: tuple[str, ...] = ()
    settings: dict[str, Setting] = dataclasses.field(default_factory=dict)
    defaults: dict[str, Any] = dataclasses.field(default_factory=dict)
    smoke: dict[str, Any] = dataclasses.field(default_factory=dict)
    packages: tuple[str, ...] = ()
    technique: Callable[..., Learner] | None = None
    data: Any = None
    network: Any = None
    length: Any = None
    measures: Sequence[Any] = ()
    report: Sequence[Any] = ()
    use: Any = None
    start: Any = None
    sanity: Any = None

    def __post_init__(self):
        if self.technique is None:
            return
        technique = self.technique
        values = {}
        for name, value in getattr(technique, "keywords", {}).items():
            values |= value._asdict() if is_record(type(value)) else {name: value}
        learner = technique.func if isinstance(technique, functools.partial) else technique
        parts = Parts(
            learner,
            self.data,
            self.network,
            self.optimizer,
            tuple(self.measures),
            tuple(self.report),
            self.use,
            self.start,
            self.sanity or Sanity(),
        )
        defaults = {**self.length.defaults, **({} if parts.zoo is None else parts.zoo.defaults), **values}
        object.__setattr__(self, "learner", learner)
        object.__setattr__(self, "task", TaskOfParts(parts, defaults))

    @functools.cached_property
    def merged(self) -> Merged:
        """What the flags come from; what the page gives replaces what the task gives."""
        has_task = self.technique is None
        optimizer = field_settings(self.optimizer) if has_task and self.optimizer is not None else {}
        return Merged(
            settings={**self.task.settings(), **optimizer, **self.settings},
            defaults={**self.task.defaults, **self.defaults},
            **{
                name: getattr(self, name) or getattr(self.task, name, getattr(self, name))
                for name in ("smoke", "model", "modules", "external_fields", "own_fields", "packages")
            },
        )

    def build(self, setup: Setup) -> Learner:
        """Build the learner.

        Returns:
          The technique's learner, with what the optimizer and the task add to it.
        """
        return self.task.build(self.learner, self.optimizer, setup, self.arguments)

    def schedule(self, setup: Setup) -> Callable[[int], float] | None:
        """Build the schedule of the learning rate, for the log.

        Returns:
          Function from the step, counted from 0, to its learning rate; None where there is none.
        """
        if self.optimizer is None or self.technique is not None:
            return self.task.schedule(setup)
        return self.optimizer.rate_of_step(setup)

    @property
    def name(self) -> str:
        """`<topic>.<stem>`."""
        return name_of(self.file)
