"""The optimizer of the flags, for pages with a task: the records of `dlcore.optim`, built from a `Run`."""

import dataclasses
from collections.abc import Callable

import optax

from dlcore.experiment.parts import Run
from dlcore.experiment.setting import field_settings
from dlcore.learner import Learner
from dlcore.optim import adamw

__all__ = ["SETTINGS", "AdamW", "AveragedAdamW", "EMAAdamW", "build", "record_of", "schedule"]


class _BuiltFromSetup:
    """The methods that a task calls, from the flags of a run."""

    takes_setup = True

    def build(self, run: Run) -> optax.GradientTransformationExtraArgs:
        """Build the optimizer, with a schedule over the run's steps."""
        return build(run)

    def rate_of_step(self, run: Run) -> Callable[[int], float] | None:
        """Build the learning-rate schedule, if it is known before the run."""
        return schedule(run)

    def wrap(self, learner: Learner, run: Run) -> Learner:
        """Evaluate the average of the parameters, for a record that has one."""
        return record_of(run).wrap(learner) if isinstance(self, adamw.EMAAdamW) else learner


class AdamW(_BuiltFromSetup, adamw.AdamW):
    """See `dlcore.optim.AdamW`."""


class EMAAdamW(_BuiltFromSetup, adamw.EMAAdamW):
    """See `dlcore.optim.EMAAdamW`."""


class AveragedAdamW(_BuiltFromSetup, adamw.AveragedAdamW):
    """See `dlcore.optim.AveragedAdamW`."""


SETTINGS = field_settings(adamw.AveragedAdamW())
"""The flags of the optimizer, for experiments without a task."""


def record_of(run: Run) -> adamw.AveragedAdamW:
    """Read the optimizer's record from the flags; of its fields, flags may lack some."""
    fields = (field.name for field in dataclasses.fields(adamw.AveragedAdamW))
    return adamw.AveragedAdamW(**{name: run.flags[name] for name in fields if name in run.flags})


def build(run: Run) -> optax.GradientTransformationExtraArgs:
    """Build the optimizer, with a schedule over the run's steps."""
    return record_of(run).build(run.steps, run.steps_per_epoch)


def schedule(run: Run) -> Callable[[int], float] | None:
    """Build the learning-rate schedule, if it is known before the run."""
    return record_of(run).rate_of_step(run.steps, run.steps_per_epoch)
