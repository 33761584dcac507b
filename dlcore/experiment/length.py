"""The length of a training, with its batches and validations: what a page says as `Epochs(150, batch_size=128)`."""

import dataclasses
from typing import Annotated, Any, Literal

from dlcore.learner import CheckedRecord, Range

__all__ = ["Epochs", "Steps"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Length(CheckedRecord):
    """What trainings of some epochs and of some steps share.

    Args:
      batch_size: examples of a step, over all devices.
      eval_every: steps between two validations; None: an epoch.
      select: the checkpoint to test: best on validation, or last.
      eval_batch_size: batch size of evaluation.
    """

    batch_size: Annotated[int, Range(1)] = 128
    eval_every: Annotated[int | None, Range(1)] = None
    select: Literal["best", "last"] = "best"
    eval_batch_size: Annotated[int, Range(1)] = 256

    @property
    def defaults(self) -> dict[str, Any]:
        """Values of the flags of the same names."""
        return dict(vars(self))


@dataclasses.dataclass(frozen=True)
class Epochs(_Length):
    """A training of some epochs.

    Args:
      epochs: passes over the training split.
    """

    epochs: Annotated[float, Range(1e-6)]

    @property
    def defaults(self) -> dict[str, Any]:
        """Values of the flags of the same names."""
        return {**super().defaults, "epochs": float(self.epochs)}


@dataclasses.dataclass(frozen=True)
class Steps(_Length):
    """A training of some steps.

    Args:
      steps: training steps.
    """

    steps: Annotated[int, Range(1)]
