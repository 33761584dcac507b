"""Shared by GAN experiments: the optimizer of generator and discriminator."""

from typing import Literal

import optax

from dlcore.experiment.experiment import Setup
from dlcore.experiment.setting import Setting
from dlcore.learner import Range
from dlcore.optim import OPTIMIZERS, SCHEDULES, create_optimizer, create_schedule

__all__ = ["SETTINGS", "optimizer", "schedule"]

SETTINGS = {
    "optimizer": Setting("adam", "optimizer of generator and discriminator", Literal[tuple(OPTIMIZERS)]),
    "learning_rate": Setting(
        2e-4, "initial learning rate of generator and discriminator", limits=Range(0), essential=True
    ),
    "schedule": Setting("linear", "learning-rate schedule", Literal[tuple(SCHEDULES)]),
    "momentum": Setting(0.5, "beta1 of Adam", limits=Range(0, 0.999999)),
}


def optimizer(setup: Setup) -> optax.GradientTransformationExtraArgs:
    """Build the optimizer of the generator or of the discriminator.

    Args:
      setup: facts of the run; its flags must contain SETTINGS.

    Returns:
      The transformation.
    """
    flags = setup.flags
    return create_optimizer(flags.optimizer, schedule(setup), momentum=flags.momentum)


def schedule(setup: Setup) -> optax.Schedule:
    """Build the learning-rate schedule.

    Args:
      setup: facts of the run; its flags must contain SETTINGS.

    Returns:
      A function from the step, counted from 0, to the learning rate of generator and discriminator.
    """
    return create_schedule(setup.flags.schedule, setup.flags.learning_rate, setup.steps)
