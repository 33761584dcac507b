"""The optimizer of an experiment's flags."""

from collections.abc import Callable
from typing import Literal

import jax
import optax

from dlcore.experiment.experiment import Setup
from dlcore.experiment.setting import Setting
from dlcore.learner import Learner, Range
from dlcore.optim import OPTIMIZERS, SCHEDULES, create_optimizer, create_schedule, use_ema
from dlcore.optim.builder import MOST_MOMENTUM, check_milestones

__all__ = ["SETTINGS", "build", "evaluate_ema", "learning_rate_schedule", "schedule"]

SETTINGS = {
    "optimizer": Setting(
        "adamw", "optimizer; dlcore.optim.create_optimizer describes them", Literal[tuple(OPTIMIZERS)], essential=True
    ),
    "learning_rate": Setting(3e-3, "peak learning rate", limits=Range(0), essential=True),
    "schedule": Setting(
        "cosine", "learning-rate schedule after the warm-up", Literal[tuple(SCHEDULES)], essential=True
    ),
    "milestones": Setting(
        None,
        "epochs, such as 30,60,90, at which --decay_factor multiplies the rate; given, they replace --schedule",
        tuple[float, ...] | None,
        Range(1e-6),
        check=check_milestones,
    ),
    "decay_factor": Setting(
        0.1, "factor of the learning rate at each of --milestones, or at each plateau", limits=Range(1e-9, 1)
    ),
    "plateau_patience": Setting(
        3, "--schedule=plateau: validations in a row without progress that do not lower the rate", limits=Range(0)
    ),
    "warmup": Setting(
        0.1, "linear warm-up: fraction of the steps in which the learning rate rises from 0", limits=Range(0, 1)
    ),
    "momentum": Setting(0.9, "momentum of SGD; beta1 of Adam", limits=Range(0, MOST_MOMENTUM)),
    "second_momentum": Setting(
        0.999, "beta2 of Adam: decay rate of the squared gradients", limits=Range(0, MOST_MOMENTUM)
    ),
    "weight_decay": Setting(
        0.05,
        "weight decay, decoupled for adamw and lamb, L2 elsewhere; kernels only: no biases, norms, tokens or positions",
        limits=Range(0),
        essential=True,
    ),
    "l1": Setting(
        0.0,
        "strength of the L1 penalty on kernels, by soft thresholding; beside --weight_decay an elastic net",
        limits=Range(0),
        identity="if changed",
        regularizes=True,
    ),
    "max_norm": Setting(
        None,
        "max-norm constraint: largest norm of the weights into each unit",
        float | None,
        Range(1e-12),
        identity="if changed",
        regularizes=True,
    ),
    "clip_norm": Setting(None, "gradient clipping: largest global norm of the gradient", float | None, Range(1e-12)),
    "clip_value": Setting(
        None,
        "gradient clipping: largest absolute value of each derivative",
        float | None,
        Range(1e-12),
        identity="if changed",
    ),
    "ema": Setting(
        None,
        "decay of the exponential moving average of parameters that is evaluated; none by default",
        float | None,
        Range(0, 0.999999),
    ),
    "accumulate": Setting(
        1,
        "gradient accumulation: steps whose gradients make one update; a rest at the end of the run makes none",
        limits=Range(1),
    ),
}


def build(setup: Setup) -> optax.GradientTransformationExtraArgs:
    """Build the optimizer, with a schedule over the run's steps.

    Args:
      setup: facts of the run, with the flags of SETTINGS, of which `second_momentum`, `l1`, `max_norm`, `clip_value`,
        `ema` and `accumulate` may be missing.

    Returns:
      The transformation.
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
    """Build the learning-rate schedule, if it is known before the run.

    Args:
      setup: facts of the run, as in `build`.

    Returns:
      A function from the step, counted from 0, to the learning rate of its update; None with `--schedule=plateau`.
    """
    flags = setup.flags
    if flags.schedule == "plateau" and flags.get("milestones") is None:
        return None
    by_update, accumulate = learning_rate_schedule(setup, flags.learning_rate), flags.get("accumulate", 1)
    if flags.schedule != "constant" or flags.warmup or flags.get("milestones"):
        by_update = jax.jit(by_update)  # one program instead of one per operation
    return lambda step: float(by_update(step // accumulate))


def learning_rate_schedule(setup: Setup, rate: float) -> optax.Schedule:
    """Build the schedule that the flags describe, over the run's optimizer updates.

    Args:
      setup: facts of the run, with the flags of SETTINGS; `accumulate`, `milestones` and `decay_factor` may be missing.
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
      setup: facts of the run; its flags must contain `ema`.

    Returns:
      The learner, with the EMA in evaluation and prediction; unchanged without `--ema`.
    """
    return use_ema(learner) if setup.flags.ema else learner
