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

`dlcore.experiment.parts` says what a part is.
"""

import dataclasses
import functools
import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from dlcore.data.splits import Spec
from dlcore.experiment.flags import Flags
from dlcore.experiment.parts import Parts, Run, Sanity
from dlcore.learner import Learner, is_record
from dlcore.setting import Setting

__all__ = ["Experiment", "name_of"]


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
    """An experiment: a technique, and what it learns from, with and by.

    Args:
      file: `__file__` of the experiment file.
      doc: `__doc__` of the experiment file.
      technique: the technique's factory; its simple parameters become flags, with the page's values in a
        `functools.partial`.
      data: the data set: source, splits, augmentation.
      network: a flax module, whose simple fields become flags `--unet.FIELD`, or a part that builds one.
      optimizer: the optimizer; None for a technique without one.
      length: `Epochs` or `Steps`: the length, the batches and the validations.
      measures: what validation and test say; the first is the headline.
      report: functions ReportContext -> panels, or parts with `panels`, `pictures` or `report_hooks`.
      use: what `--mode=predict` takes and says.
      start: the weights to start from.
      sanity: what `--mode=sanity` expects.
      defaults: values of flags in place of those of the parts, of a page that is another page with these.
      smoke: values under `--smoke`.
    """

    is_page: ClassVar[bool] = True
    """A part that names a page has its object, which is no part."""

    file: str
    doc: str
    technique: Callable[..., Learner]
    data: Any
    network: Any = None
    optimizer: Any = None
    length: Any = None
    measures: Sequence[Any] = ()
    report: Sequence[Any] = ()
    use: Any = None
    start: Any = None
    sanity: Sanity = dataclasses.field(default_factory=Sanity)
    defaults: dict[str, Any] = dataclasses.field(default_factory=dict)
    smoke: dict[str, Any] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def parts(self) -> Parts:
        """The parts, with the technique's factory as it stands in its module."""
        technique = self.technique
        return Parts(
            technique.func if isinstance(technique, functools.partial) else technique,
            self.data,
            self.network,
            self.optimizer,
            tuple(self.measures),
            tuple(self.report),
            self.use,
            self.start,
            self.sanity,
        )

    def run(self, flags: Flags, spec: Spec | None = None, steps: int | None = None, dtype: Any = None) -> Run:
        """Build a run of the parts.

        Args:
          flags: the resolved settings.
          spec: `Splits.spec` with `train_size`; None before the data are loaded.
          steps: length of the training; None takes `--steps`.
          dtype: dtype of the computation.
        """
        return Run(self.parts, flags, {} if spec is None else spec, steps or flags.get("steps") or 1, dtype)

    def trained(self, words: Sequence[str], purpose: str) -> Path:
        """Find the finished run of this page, or train it as its command would.

        Args:
          words: arguments of the command line.
          purpose: purpose of the run, printed before it starts.

        Returns:
          The run's folder.
        """
        train = importlib.import_module("dlcore.modes.train")  # which stands to the right
        return train.train_page(self, words, purpose)

    @functools.cached_property
    def settings(self) -> dict[str, Setting]:
        """The flags of the parts: {name: setting}."""
        return self.parts.settings()

    @functools.cached_property
    def values(self) -> dict[str, Any]:
        """The values of flags that the page sets: its length, fields of its network, parameters of its technique."""
        values: dict[str, Any] = {}
        for part in (self.length, self.zoo):
            values |= {} if part is None else part.defaults
        for name, value in getattr(self.technique, "keywords", {}).items():
            values |= value._asdict() if is_record(type(value)) else {name: value}
        return {**values, **self.defaults}

    @property
    def zoo(self) -> Any:
        """The network of the zoo, see `Parts.zoo`."""
        return self.parts.zoo

    @property
    def model(self) -> str | None:
        """The default of `--model`; None: there is no such flag."""
        return None if self.zoo is None else self.zoo.zoo_name

    @functools.cached_property
    def modules(self) -> dict[str, Callable]:
        """The flax modules whose fields are flags, by the prefix of the flags."""
        return self.parts.modules()

    @property
    def external_fields(self) -> tuple[str, ...]:
        """Names such as "unet.channels" of fields that the data set: no flags."""
        return tuple(getattr(self.network, "external_fields", ()))

    @property
    def own_fields(self) -> tuple[str, ...]:
        """Names of fields that published weights do not set, such as those of a pretext's decoder."""
        return tuple(getattr(self.network, "own_fields", ()))

    @property
    def packages(self) -> tuple[str, ...]:
        """Names of required packages in `dlcore.extras`, checked before any work."""
        return tuple(name for part in self.parts for name in getattr(part, "packages", ()))

    @property
    def name(self) -> str:
        """`<topic>.<stem>`."""
        return name_of(self.file)
