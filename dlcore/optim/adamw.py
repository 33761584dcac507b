"""Optimizers as records that hold their values: `AdamW(learning_rate=1e-3, schedule="cosine").build(steps=1000)`.

The fields of a record are the flags of a page; `create_optimizer` says what an optimizer is made of, in which order.
"""

import dataclasses
from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

import jax
import optax

from dlcore.learner import Learner, Range, check_record
from dlcore.optim.builder import (
    MOST_MOMENTUM,
    OPTIMIZERS,
    SCHEDULES,
    check_milestones,
    create_optimizer,
    create_schedule,
)
from dlcore.optim.ema import use_ema

__all__ = ["AccumulatingAdamW", "AdamW", "AveragedAdamW", "EMAAdamW", "GANAdam"]


@dataclasses.dataclass(frozen=True)
class AdamW:
    """An optimizer with its learning-rate schedule; by default AdamW with a cosine.

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

    ema: ClassVar[float | None] = None
    accumulate: ClassVar[int] = 1
    parameters: ClassVar[tuple[str, ...]] = ("optimizer",)
    """Parameters of the technique that take the optimizer."""

    def __post_init__(self):
        check_record(self)

    def build(self, steps: int, steps_per_epoch: float | None = None) -> optax.GradientTransformationExtraArgs:
        """Build the optimizer.

        Args:
          steps: length of the training, over which the schedule goes.
          steps_per_epoch: training steps of an epoch, which `milestones` count in.

        Returns:
          An optax transformation.
        """
        return create_optimizer(
            self.optimizer,
            self.rate_of_update(steps, steps_per_epoch),
            momentum=self.momentum,
            second_momentum=self.second_momentum,
            weight_decay=self.weight_decay,
            clip_norm=self.clip_norm,
            ema=self.ema,
            accumulate=self.accumulate,
            plateau=self.follows_plateaus,
            clip_value=self.clip_value,
            l1=self.l1,
            max_norm=self.max_norm,
        )

    def rate_of_update(self, steps: int, steps_per_epoch: float | None = None) -> optax.Schedule:
        """Build the learning-rate schedule over updates, of which there is one every `accumulate` steps.

        Args:
          steps: length of the training.
          steps_per_epoch: training steps of an epoch, which `milestones` count in.

        Returns:
          A function from the update, counted from 0, to the learning rate.
        """
        updates = max(1, steps // self.accumulate)
        milestones = self.milestones
        if milestones is not None:
            if steps_per_epoch is None:
                raise ValueError("steps_per_epoch=None: missing; allowed: the steps of an epoch, for milestones")
            milestones = [m * steps_per_epoch / self.accumulate for m in milestones]
        warmup = round(self.warmup * updates)
        return create_schedule(self.schedule, self.learning_rate, updates, warmup, milestones, self.decay_factor)

    def rate_of_step(self, steps: int, steps_per_epoch: float | None = None) -> Callable[[int], float] | None:
        """Build the learning-rate schedule over steps, if it is known before the training.

        Returns:
          A function from the step, counted from 0, to the learning rate of its update; None with `schedule="plateau"`.
        """
        if self.follows_plateaus:
            return None
        rate = self.rate_of_update(steps, steps_per_epoch)
        if self.schedule != "constant" or self.warmup or self.milestones:
            rate = jax.jit(rate)  # one program instead of one per operation
        return lambda step: float(rate(step // self.accumulate))

    @property
    def follows_plateaus(self) -> bool:
        """Whether the rate falls where a validation stops improving (ReduceLROnPlateau)."""
        return self.schedule == "plateau" and self.milestones is None

    def wrap(self, learner: Learner) -> Learner:
        """Evaluate the average of the parameters where the optimizer keeps one.

        Args:
          learner: a learner whose optimizer `build` made.

        Returns:
          The learner, with the average in evaluation and prediction; unchanged without `ema`.
        """
        return use_ema(learner) if self.ema else learner


@dataclasses.dataclass(frozen=True)
class AccumulatingAdamW(AdamW):
    """AdamW with gradient accumulation.

    Args:
      accumulate: gradient accumulation: steps whose gradients make one update; a rest at the end of the run makes none
    """

    accumulate: Annotated[int, Range(1)] = 1  # pyright: ignore[reportIncompatibleVariableOverride]


@dataclasses.dataclass(frozen=True)
class EMAAdamW(AdamW):
    """AdamW with an average of the parameters.

    Args:
      ema: decay of the exponential moving average of parameters that is evaluated; none by default
    """

    ema: Annotated[float | None, Range(0, 0.999999)] = None  # pyright: ignore[reportIncompatibleVariableOverride]


@dataclasses.dataclass(frozen=True)
class AveragedAdamW(EMAAdamW):
    """AdamW with an average of the parameters and gradient accumulation.

    Args:
      accumulate: gradient accumulation: steps whose gradients make one update; a rest at the end of the run makes none
    """

    accumulate: Annotated[int, Range(1)] = 1  # pyright: ignore[reportIncompatibleVariableOverride]


@dataclasses.dataclass(frozen=True)
class GANAdam:
    """The optimizer of a GAN: the same for generator and discriminator.

    Args:
      optimizer: optimizer of generator and discriminator
      learning_rate: initial learning rate of generator and discriminator
      schedule: learning-rate schedule
      momentum: beta1 of Adam
    """

    optimizer: Literal[tuple(OPTIMIZERS)] = "adam"
    learning_rate: Annotated[float, Range(0), "essential"] = 2e-4
    schedule: Literal[tuple(SCHEDULES)] = "linear"
    momentum: Annotated[float, Range(0, MOST_MOMENTUM)] = 0.5

    parameters: ClassVar[tuple[str, ...]] = ("generator_optimizer", "discriminator_optimizer")
    """Parameters of the technique that take the optimizer."""

    def __post_init__(self):
        check_record(self)

    def build(self, steps: int, steps_per_epoch: float | None = None) -> optax.GradientTransformationExtraArgs:
        """Build the optimizer of the generator or of the discriminator.

        Args:
          steps: length of the training, over which the schedule goes.
          steps_per_epoch: not used.

        Returns:
          An optax transformation.
        """
        return create_optimizer(self.optimizer, self.rate_of_step(steps), momentum=self.momentum)

    def rate_of_step(self, steps: int, steps_per_epoch: float | None = None) -> optax.Schedule:
        """Build the learning-rate schedule.

        Args:
          steps: length of the training.
          steps_per_epoch: not used.

        Returns:
          A function from the step, counted from 0, to the learning rate of generator and discriminator.
        """
        return create_schedule(self.schedule, self.learning_rate, steps)
