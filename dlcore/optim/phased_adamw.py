"""AdamW in phases: the first part of a run trains an autoencoder, the last a model of its codes."""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any

import optax

from dlcore.learner import Range
from dlcore.optim import AdamW

__all__ = ["PhasedAdamW"]


@dataclasses.dataclass(frozen=True)
class PhasedAdamW(AdamW):
    """AdamW whose schedule starts anew with the second phase.

    Args:
      prior_share: fraction of the steps, the last ones, that train the prior; 0 trains none
    """

    prior_share: Annotated[float, Range(0, 0.99)] = 0.25

    def phases(self, steps: int) -> tuple[int, int]:
        """Count the steps of the autoencoder and those of the model of its codes.

        Args:
          steps: length of the training.

        Returns:
          (steps of the first phase, steps of the second).
        """
        last = round(self.prior_share * steps)
        return steps - last, last

    def build(self, steps: int, steps_per_epoch: float | None = None) -> optax.GradientTransformationExtraArgs:
        """Build the optimizer of the autoencoder, whose schedule ends with the first phase."""
        return super().build(max(1, self.phases(steps)[0]), steps_per_epoch)

    def arguments(self, run: Any) -> dict[str, Any]:
        """Tell the technique which steps train the model of the codes, and by which optimizer."""
        first, last = self.phases(run.steps)
        optimizer = super().build(max(1, last), run.steps_per_epoch)
        return {"prior_optimizer": optimizer, "is_prior_step": lambda step: step >= first}

    def rate_of_step(self, steps: int, steps_per_epoch: float | None = None) -> Callable[[int], float] | None:
        """Build the learning-rate schedule of both phases."""
        first, last = self.phases(steps)
        early, late = (super(PhasedAdamW, self).rate_of_step(max(1, k), steps_per_epoch) for k in (first, last))
        if early is None or late is None:
            return None
        return lambda step: early(step) if step < first else late(step - first)
