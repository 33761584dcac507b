"""The record that an experiment file defines: technique, task, optimizer and the values of its flags.

experiment = Experiment(__file__, __doc__, supervised.learner, task=LabeledImages(), optimizer=AdamW())
if __name__ == "__main__":
    main(experiment)
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import Setting, field_settings
from dlcore.experiment.splits import Spec
from dlcore.learner import Learner

__all__ = ["Experiment", "Merged", "Setup", "name_of"]


class Setup(NamedTuple):
    """Argument of `Experiment.build`.

    Args:
      flags: the resolved settings.
      spec: `Splits.spec`, and `train_size`.
      steps: length of the run.
      dtype: dtype of the computation.
      optimizer: the experiment's record of an optimizer; None for a technique without one.
    """

    flags: Flags
    spec: Spec
    steps: int
    dtype: Any
    optimizer: Any = None

    def transformation(self) -> Any:
        """Build the experiment's optimizer.

        Returns:
          An optax transformation.
        """
        return self.optimizer.build(self)


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
      learner: the technique's factory; its simple parameters become flags.
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

    file: str
    doc: str
    learner: Callable[..., Learner]
    task: Any
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

    @functools.cached_property
    def merged(self) -> Merged:
        """What the flags come from; what the page gives replaces what the task gives."""
        optimizer = {} if self.optimizer is None else field_settings(self.optimizer)
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
        source = self.task.schedule if self.optimizer is None else self.optimizer.rate_of_step
        return source(setup)

    @property
    def name(self) -> str:
        """`<topic>.<stem>`."""
        return name_of(self.file)
