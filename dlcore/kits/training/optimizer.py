"""The optimizer of the flags, for pages with a task: the records of `dlcore.optim`, built from a `Setup`."""

import dataclasses
from collections.abc import Callable

import optax

from dlcore.experiment.experiment import Setup
from dlcore.experiment.setting import field_settings
from dlcore.learner import Learner
from dlcore.optim import adamw

__all__ = ["SETTINGS", "AdamW", "AveragedAdamW", "EMAAdamW", "build", "record_of", "schedule"]


class _BuiltFromSetup:
    """The methods that a task calls, from the flags of a run."""

    takes_setup = True

    def build(self, setup: Setup) -> optax.GradientTransformationExtraArgs:
        """Build the optimizer, with a schedule over the run's steps."""
        return build(setup)

    def rate_of_step(self, setup: Setup) -> Callable[[int], float] | None:
        """Build the learning-rate schedule, if it is known before the run."""
        return schedule(setup)

    def wrap(self, learner: Learner, setup: Setup) -> Learner:
        """Evaluate the average of the parameters, for a record that has one."""
        return record_of(setup).wrap(learner) if isinstance(self, adamw.EMAAdamW) else learner


class AdamW(_BuiltFromSetup, adamw.AdamW):
    """See `dlcore.optim.AdamW`."""


class EMAAdamW(_BuiltFromSetup, adamw.EMAAdamW):
    """See `dlcore.optim.EMAAdamW`."""


class AveragedAdamW(_BuiltFromSetup, adamw.AveragedAdamW):
    """See `dlcore.optim.AveragedAdamW`."""


SETTINGS = field_settings(adamw.AveragedAdamW())
"""The flags of the optimizer, for experiments without a task."""


def record_of(setup: Setup) -> adamw.AveragedAdamW:
    """Read the optimizer's record from the flags; of its fields, flags may lack some."""
    fields = (field.name for field in dataclasses.fields(adamw.AveragedAdamW))
    return adamw.AveragedAdamW(**{name: setup.flags[name] for name in fields if name in setup.flags})


def build(setup: Setup) -> optax.GradientTransformationExtraArgs:
    """Build the optimizer, with a schedule over the run's steps."""
    return record_of(setup).build(setup.steps, setup.steps_per_epoch)


def schedule(setup: Setup) -> Callable[[int], float] | None:
    """Build the learning-rate schedule, if it is known before the run."""
    return record_of(setup).rate_of_step(setup.steps, setup.steps_per_epoch)
