"""Facts of a run that a learner is built from."""

from typing import Any, NamedTuple

from dlcore.data.splits import Spec
from dlcore.experiment.flags import Flags
from dlcore.experiment.parts import with_flags

__all__ = ["Setup"]


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

    @property
    def steps_per_epoch(self) -> float | None:
        """Training steps of an epoch, a fraction too; None where the data have no size."""
        size = self.spec.get("train_size")
        return None if size is None else size / self.flags.batch_size

    def transformation(self) -> Any:
        """Build the experiment's optimizer.

        Returns:
          An optax transformation.
        """
        if getattr(self.optimizer, "takes_setup", True):
            return self.optimizer.build(self)
        return with_flags(self.optimizer, self.flags).build(self.steps, self.steps_per_epoch)
