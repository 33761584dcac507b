"""The record that an experiment file defines: data, model, learner, measures and report.

experiment = Experiment(
    file=__file__, doc=__doc__, learner=supervised.learner, data=images.data, build=build, model="resnet8_cifar"
)
if __name__ == "__main__":
    main(experiment)
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import Setting, field_settings
from dlcore.experiment.splits import Spec, Splits
from dlcore.learner import Learner

__all__ = ["Experiment", "Setup", "name_of"]


class Setup(NamedTuple):
    """Argument of `Experiment.build`.

    Args:
      flags: the resolved settings.
      spec: `Splits.spec`, and `train_size`.
      steps: length of the run.
      dtype: dtype of the computation.
    """

    flags: Flags
    spec: Spec
    steps: int
    dtype: Any


def name_of(file: str) -> str:
    """Name an experiment by its file.

    Args:
      file: a path.

    Returns:
      `<topic>.<stem>`.
    """
    path = Path(file).resolve()
    return f"{path.parent.name}.{path.stem}"


@dataclasses.dataclass(frozen=True)
class Experiment:
    """An experiment: its data, learner, measures, report and settings.

    `task` gives all that several techniques share, so that a page names its technique, its task and its defaults. What
    the page sets itself replaces what the task gives.

    Args:
      file: `__file__` of the experiment file.
      doc: `__doc__` of the experiment file.
      learner: the technique's factory; its simple parameters become flags.
      task: what the technique shares with others, see `dlcore.experiment.task.Task`; None: the page gives all itself.
      optimizer: record of the optimizer's flags, with `build(setup)` and `rate_of_step(setup)`, beside `task`.
      arguments: Setup -> what the technique takes besides its flags and the optimizer, such as its networks, beside
        `task`.
      data: Flags -> Splits.
      build: Setup -> Learner.
      model: the default of `--model`; its simple fields become `--model.FIELD`. None: the experiment has no such flag.
      modules: flax modules by prefix; the simple fields of `modules["unet"]` become `--unet.FIELD`.
      external_fields: names such as "unet.channels" of fields that `build` sets from the data: no flags.
      settings: the experiment's own flags.
      defaults: values that replace the defaults of the settings, the signature and the modules.
      smoke: values under `--smoke`.
      monitor: the validation metric that selects the best checkpoint; None selects the last.
      monitor_mode: whether the best value of the monitor is the largest or the smallest.
      headline: the test metric of the ledger.
      expected_loss: Setup -> the loss at initialization, for `--mode=sanity`.
      loss_tolerance: relative tolerance of the expected loss; a head with zero initialization matches it exactly.
      plain: values that switch regularization and augmentation off, for `--mode=sanity`.
      regularizer: the flag that scales a penalty, for `--mode=sanity`.
      overfit: largest loss after overfitting twenty examples, for `--mode=sanity`; None for losses that do
        not go to 0 (adversarial losses, noise prediction).
      planned: Flags -> (spec, one batch) of data whose shapes are known without loading it, for `--mode=plan`; None for
        other data, which is loaded.
      inputs: (Flags, spec) -> (source, names) of what `--input` names.
      input_kind: what `--input` takes, for the message where it is missing.
      drawn: (Flags, spec) -> (source, names) for `--mode=predict` without `--input`, such as the indices of samples to
        generate; None for an experiment that needs input files.
      describe: (outputs, spec) -> one dict per example that predict prints: its `text`, or its `probabilities`.
      write: (folder, outputs, source, names, spec) -> the files that `--mode=predict --output=FOLDER` writes: pictures,
        masks, annotations; None for an experiment that writes none.
      panels: ReportContext -> panels of the report.
      pictures: ReportContext -> name to image [H, W, C] for TensorBoard.
      hooks: Setup -> hooks for fit.
      report_hooks: Setup -> hooks that only add panels to the report, such as a film; a search, which writes no such
        report, leaves them out.
      schedule: Setup -> a function from the step, counted from 0, to its learning rate, for the log; None logs none.
      check: Flags -> None; raises FlagError for incompatible settings; called before loading the data.
      start: Setup -> fit's `start` if the settings name weights to initialize from, else None; preferably a
        `dlcore.experiment.origin.Start`, which can be checked before compilation. A flag that names weights has
        `origin=` in its Setting.
      notes: (Setup, Splits) -> lines to print before training, such as facts of the data that matter to this model.
      evaluators: (Setup, Splits, "valid" or "test") -> evaluators of that split, which measure the outputs of
        `predict`.
      encoder: Setup -> the `dlcore.evaluators.fine_tuning.Encoder` of images in the learner's state, by which its
        features are measured on another data set; None where it is the network of `--model`, or where there is none.
      packages: names of required packages in `dlcore.extras`, checked before any work.
      filled_from: the task that the unset fields were taken from; the class sets it.
    """

    file: str
    doc: str
    learner: Callable[..., Learner]
    data: Callable[[Flags], Splits] = None  # pyright: ignore[reportAssignmentType]
    build: Callable[[Setup], Learner] = None  # pyright: ignore[reportAssignmentType]
    task: Any = None
    optimizer: Any = None
    arguments: Callable[[Setup], dict[str, Any]] | None = None
    model: str | None = None
    modules: dict[str, Callable] = dataclasses.field(default_factory=dict)
    external_fields: tuple[str, ...] = ()
    settings: dict[str, Setting] = dataclasses.field(default_factory=dict)
    defaults: dict[str, Any] = dataclasses.field(default_factory=dict)
    smoke: dict[str, Any] = dataclasses.field(default_factory=dict)
    monitor: str | None = "accuracy"
    monitor_mode: Literal["max", "min"] = "max"
    headline: str = "accuracy"
    expected_loss: Callable[[Setup], float] | None = None
    loss_tolerance: float = 0.01
    plain: dict[str, Any] = dataclasses.field(default_factory=dict)
    regularizer: str | None = None
    overfit: float | None = None
    planned: Callable[[Flags], tuple[Spec, Any] | None] = lambda flags: None
    inputs: Callable[[Flags, Spec], tuple[Any, list[str]]] | None = None
    input_kind: str = "FILE_OR_FOLDER"
    drawn: Callable[[Flags, Spec], tuple[Any, list[str]]] | None = None
    describe: Callable[[Any, Spec], list[dict]] | None = None
    write: Callable[[Path, Any, Any, list[str], Spec], list[Path]] | None = None
    panels: Callable[[Any], list] | None = None
    pictures: Callable[[Any], dict[str, Any]] | None = None
    hooks: Callable[[Setup], list] = lambda setup: []
    report_hooks: Callable[[Setup], list] = lambda setup: []
    schedule: Callable[[Setup], Callable[[int], float] | None] = lambda setup: None
    check: Callable[[Flags], None] = lambda flags: None
    start: Callable[[Setup], Callable[[Any], Any] | None] = lambda setup: None
    notes: Callable[[Setup, Splits], list[str]] = lambda setup, splits: []
    evaluators: Callable[[Setup, Splits, str], list] = lambda setup, splits, split: []
    encoder: Callable[[Setup], Any] | None = None
    packages: tuple[str, ...] = ()
    filled_from: Any = dataclasses.field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Take from the task what the page does not set; a copy by `dataclasses.replace` keeps what it replaces."""
        if self.task is None:
            return
        values: dict[str, Any] = {}
        if self.filled_from is not self.task:
            values = self._fields_of_task()
        if self.build is None or self._is_built_by_task():
            page = {} if self.arguments is None else {"arguments": self.arguments}
            values["build"] = functools.partial(self.task.build, self.learner, self.optimizer, **page)
        for name, value in {**values, "filled_from": self.task}.items():
            object.__setattr__(self, name, value)

    def _is_built_by_task(self) -> bool:
        """Whether `build` is that of a task, as in a copy that replaces the learner, the optimizer or the arguments."""
        build = self.build.func if isinstance(self.build, functools.partial) else None
        return self.filled_from is not None and build == self.filled_from.build

    def _fields_of_task(self) -> dict[str, Any]:
        """Fields that are still unset, or those of the task before."""
        optimizer = {} if self.optimizer is None else field_settings(self.optimizer)
        values: dict[str, Any] = {
            "settings": {**self.task.settings(), **optimizer, **self.settings},
            "defaults": {**self.task.defaults, **self.defaults},
        }
        unset = {
            field.name: field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
            for field in dataclasses.fields(self)
        }
        for name in self.task.gives():
            before = getattr(self.filled_from, name, unset[name])
            if getattr(self, name) in (unset[name], before):
                values[name] = getattr(self.task, name)
        if self.optimizer is not None and self.schedule == unset["schedule"]:
            values["schedule"] = self.optimizer.rate_of_step
        return values

    @property
    def name(self) -> str:
        """`<topic>.<stem>`."""
        return name_of(self.file)
