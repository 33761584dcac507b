"""Adam with a falling rate, as agents are trained."""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, Literal

from dlcore.learner import Range, check_record
from dlcore.optim import create_optimizer, create_schedule

__all__ = ["AdversarialAdam", "AnnealedAdam"]


@dataclasses.dataclass(frozen=True)
class AnnealedAdam:
    """Adam whose rate falls over all gradient steps, of which each step of the run has several.

    Args:
      learning_rate: initial learning rate of Adam
      lr_schedule: learning-rate schedule; linear falls to 0
      max_grad_norm: gradient clipping: largest global norm
      updates: values of the technique -> gradient steps in each step of the run
    """

    learning_rate: Annotated[float, Range(0), "essential"] = 2.5e-3
    lr_schedule: Literal["linear", "constant"] = "linear"
    max_grad_norm: Annotated[float, Range(1e-12)] = 0.5
    updates: Callable[[dict[str, Any]], int] = lambda values: 1

    def __post_init__(self):
        check_record(self)

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the `optimizer`."""
        updates = self.updates(run.parts.technique.keywords)
        schedule = create_schedule(self.lr_schedule, self.learning_rate, run.steps * updates)
        return {"optimizer": create_optimizer("adam", schedule, clip_norm=self.max_grad_norm)}

    def rate_of_step(self, steps: int, steps_per_epoch: float | None = None) -> Callable[[int], float]:
        """Build the learning-rate schedule over the steps of the run."""
        falls = self.lr_schedule == "linear"
        return lambda step: self.learning_rate * (1 - falls * step / steps)


@dataclasses.dataclass(frozen=True)
class AdversarialAdam(AnnealedAdam):
    """Adam of an agent, and another one of its discriminator.

    Args:
      discriminator_learning_rate: learning rate of the discriminator's Adam
    """

    discriminator_learning_rate: Annotated[float, Range(0)] = 1e-3

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique both optimizers."""
        optimizer = create_optimizer("adam", self.discriminator_learning_rate)
        return {**super().arguments(run), "discriminator_optimizer": optimizer}
