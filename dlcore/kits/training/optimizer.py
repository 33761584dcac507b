"""The optimizer of an experiment's flags."""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Literal

import jax
import optax

from dlcore.experiment.experiment import Setup
from dlcore.experiment.setting import check_fields, field_settings
from dlcore.learner import Learner, Range
from dlcore.optim import OPTIMIZERS, SCHEDULES, create_optimizer, create_schedule, use_ema
from dlcore.optim.builder import MOST_MOMENTUM, check_milestones

__all__ = [
    "SETTINGS",
    "AdamW",
    "AveragedAdamW",
    "EMAAdamW",
    "build",
    "evaluate_ema",
    "learning_rate_schedule",
    "schedule",
]


@dataclasses.dataclass(frozen=True)
class AdamW:
    """The flags of an optimizer with its learning-rate schedule; by default AdamW with a cosine.

    Args:
      optimizer: optimizer; dlcore.optim.create_optimizer describes them
      learning_rate: peak learning rate
      schedule: learning-rate schedule after the warm-up
      milestones: epochs, such as 30,60,90, at which --decay_factor multiplies the rate; given, they replace --schedule
      decay_factor: factor of the learning rate at each of --milestones, or at each plateau
      plateau_patience: --schedule=plateau: validations in a row without progress that do not lower the rate
      warmup: linear warm-up: fraction of the steps in which the learning rate rises from 0
      momentum: momentum of SGD; beta1 of Adam
      second_momentum: beta2 of Adam: decay rate of the squared gradients
      weight_decay: weight decay, decoupled for adamw and lamb, L2 elsewhere; kernels only: no biases, norms, tokens or
        positions
      l1: strength of the L1 penalty on kernels, by soft thresholding; beside --weight_decay an elastic net
      max_norm: max-norm constraint: largest norm of the weights into each unit
      clip_norm: gradient clipping: largest global norm of the gradient
      clip_value: gradient clipping: largest absolute value of each derivative
    """

    optimizer: Annotated[Literal[tuple(OPTIMIZERS)], "essential"] = "adamw"
    learning_rate: Annotated[float, Range(0), "essential"] = 3e-3
    schedule: Annotated[Literal[tuple(SCHEDULES)], "essential"] = "cosine"
    milestones: Annotated[tuple[float, ...] | None, Range(1e-6), check_milestones] = None
    decay_factor: Annotated[float, Range(1e-9, 1)] = 0.1
    plateau_patience: Annotated[int, Range(0)] = 3
    warmup: Annotated[float, Range(0, 1)] = 0.1
    momentum: Annotated[float, Range(0, MOST_MOMENTUM)] = 0.9
    second_momentum: Annotated[float, Range(0, MOST_MOMENTUM)] = 0.999
    weight_decay: Annotated[float, Range(0), "essential"] = 0.05
    l1: Annotated[float, Range(0), "if changed", "regularizes"] = 0.0
    max_norm: Annotated[float | None, Range(1e-12), "if changed", "regularizes"] = None
    clip_norm: Annotated[float | None, Range(1e-12)] = None
    clip_value: Annotated[float | None, Range(1e-12), "if changed"] = None

    def __post_init__(self):
        check_fields(self)

    def build(self, setup: Setup) -> optax.GradientTransformationExtraArgs:
        """Build the optimizer, with a schedule over the run's steps."""
        return build(setup)

    def rate_of_step(self, setup: Setup) -> Callable[[int], float] | None:
        """Build the learning-rate schedule, if it is known before the run.

        Returns:
          A function from the step, counted from 0, to the learning rate of its update; None with
          `--schedule=plateau`.
        """
        return schedule(setup)


@dataclasses.dataclass(frozen=True)
class EMAAdamW(AdamW):
    """AdamW with an average of the parameters.

    Args:
      ema: decay of the exponential moving average of parameters that is evaluated; none by default
    """

    ema: Annotated[float | None, Range(0, 0.999999)] = None

    def wrap(self, learner: Learner, setup: Setup) -> Learner:
        """Evaluate the average of the parameters under `--ema`.

        Args:
          learner: a learner whose optimizer `build` made.

        Returns:
          The learner, with the average in evaluation and prediction; unchanged without `--ema`.
        """
        return evaluate_ema(learner, setup)


@dataclasses.dataclass(frozen=True)
class AveragedAdamW(EMAAdamW):
    """AdamW with an average of the parameters and gradient accumulation.

    Args:
      accumulate: gradient accumulation: steps whose gradients make one update; a rest at the end of the run makes none
    """

    accumulate: Annotated[int, Range(1)] = 1


SETTINGS = field_settings(AveragedAdamW())
"""The flags of the optimizer, for experiments without a task."""


def build(setup: Setup) -> optax.GradientTransformationExtraArgs:
    """Build the optimizer, with a schedule over the run's steps.

    Of the flags of SETTINGS, `second_momentum`, `l1`, `max_norm`, `clip_value`, `ema` and `accumulate` may be missing.
    """
    flags = setup.flags
    return create_optimizer(
        flags.optimizer,
        learning_rate_schedule(setup, flags.learning_rate),
        momentum=flags.momentum,
        second_momentum=flags.get("second_momentum", 0.999),
        weight_decay=flags.weight_decay,
        clip_norm=flags.clip_norm,
        ema=flags.get("ema"),
        accumulate=flags.get("accumulate", 1),
        plateau=flags.schedule == "plateau" and flags.get("milestones") is None,
        clip_value=flags.get("clip_value"),
        l1=flags.get("l1", 0.0),
        max_norm=flags.get("max_norm"),
    )


def schedule(setup: Setup) -> Callable[[int], float] | None:
    """Build the learning-rate schedule, if it is known before the run."""
    flags = setup.flags
    if flags.schedule == "plateau" and flags.get("milestones") is None:
        return None
    by_update, accumulate = learning_rate_schedule(setup, flags.learning_rate), flags.get("accumulate", 1)
    if flags.schedule != "constant" or flags.warmup or flags.get("milestones"):
        by_update = jax.jit(by_update)  # one program instead of one per operation
    return lambda step: float(by_update(step // accumulate))


def learning_rate_schedule(setup: Setup, rate: float) -> optax.Schedule:
    """Build the schedule that the flags describe, over the run's optimizer updates.

    `accumulate`, `milestones` and `decay_factor` may be missing.

    Args:
      rate: peak learning rate.

    Returns:
      A function from the update, counted from 0, to the learning rate.
    """
    flags = setup.flags
    accumulate, milestones = flags.get("accumulate", 1), flags.get("milestones")
    updates = max(1, setup.steps // accumulate)
    if milestones is not None:
        epoch = setup.spec["train_size"] / flags.batch_size / accumulate  # updates
        milestones = [m * epoch for m in milestones]
    warmup = round(flags.warmup * updates)
    return create_schedule(flags.schedule, rate, updates, warmup, milestones, flags.get("decay_factor", 0.1))


def evaluate_ema(learner: Learner, setup: Setup) -> Learner:
    """Evaluate the EMA of the parameters under `--ema`.

    Args:
      learner: a learner whose optimizer `build` made.

    Returns:
      The learner, with the EMA in evaluation and prediction; unchanged without `--ema`.
    """
    return use_ema(learner) if setup.flags.ema else learner
