"""The optimizer of a GAN: the same for generator and discriminator."""

import dataclasses
from typing import Annotated, ClassVar, Literal

import optax

from dlcore.experiment.experiment import Setup
from dlcore.experiment.setting import check_fields
from dlcore.learner import Range
from dlcore.optim import OPTIMIZERS, SCHEDULES, create_optimizer, create_schedule

__all__ = ["GANAdam"]


@dataclasses.dataclass(frozen=True)
class GANAdam:
    """The flags of the optimizer of generator and discriminator.

    Args:
      optimizer: optimizer of generator and discriminator
      learning_rate: initial learning rate of generator and discriminator
      schedule: learning-rate schedule
      momentum: beta1 of Adam
    """

    optimizer: Literal[tuple(OPTIMIZERS)] = "adam"
    learning_rate: Annotated[float, Range(0), "essential"] = 2e-4
    schedule: Literal[tuple(SCHEDULES)] = "linear"
    momentum: Annotated[float, Range(0, 0.999999)] = 0.5

    parameters: ClassVar[tuple[str, ...]] = ("generator_optimizer", "discriminator_optimizer")
    """Parameters of the technique that take the optimizer."""

    def __post_init__(self):
        check_fields(self)

    def build(self, setup: Setup) -> optax.GradientTransformationExtraArgs:
        """Build the optimizer of the generator or of the discriminator."""
        flags = setup.flags
        return create_optimizer(flags.optimizer, self.rate_of_step(setup), momentum=flags.momentum)

    def rate_of_step(self, setup: Setup) -> optax.Schedule:
        """Build the learning-rate schedule.

        Returns:
          A function from the step, counted from 0, to the learning rate of generator and discriminator.
        """
        return create_schedule(setup.flags.schedule, setup.flags.learning_rate, setup.steps)
