"""The optimizer that an experiment's flags describe."""

from collections.abc import Callable
from typing import Literal

import jax
import optax

from dlcore.experiment.experiment import Setup
from dlcore.experiment.setting import Setting
from dlcore.learner import Learner, Range
from dlcore.optim import OPTIMIZERS, SCHEDULES, create_optimizer, create_schedule, use_ema

__all__ = ["SETTINGS", "averaged", "build", "schedule"]

SETTINGS = {
    "optimizer": Setting("adamw", "see dlcore.optim.create_optimizer", Literal[tuple(OPTIMIZERS)], essential=True),
    "learning_rate": Setting(3e-3, "peak of the schedule", limits=Range(0), essential=True),
    "schedule": Setting("cosine", "of the learning rate after the warm-up", Literal[tuple(SCHEDULES)], essential=True),
    "warmup": Setting(0.1, "share of the steps in which the learning rate rises from 0", limits=Range(0, 1)),
    "momentum": Setting(0.9, "Adam's first decay rate too", limits=Range(0, 1)),
    "second_momentum": Setting(0.999, "Adam's second decay rate, of the squares", limits=Range(0, 0.999999)),
    "weight_decay": Setting(
        0.05,
        "decoupled for adamw and lamb, L2 elsewhere; kernels only: no biases, norms, tokens or positions",
        limits=Range(0),
        essential=True,
    ),
    "clip_norm": Setting(None, "largest global norm of the gradient", float | None, Range(1e-12)),
    "ema": Setting(
        None, "decay of the parameter average that is measured; none by default", float | None, Range(0, 0.999999)
    ),
    "accumulate": Setting(
        1, "steps whose gradients make one update; what is left at the end of the run makes none", limits=Range(1)
    ),
}


def build(setup: Setup) -> optax.GradientTransformationExtraArgs:
    """Build the optimizer, on a schedule over the run's steps.

    Args:
      setup: with the flags of SETTINGS; `ema`, `accumulate` and `second_momentum` may be missing.

    Returns:
      The transformation.
    """
    flags = setup.flags
    return create_optimizer(
        flags.optimizer,
        _by_update(setup),
        momentum=flags.momentum,
        second_momentum=flags.get("second_momentum", 0.999),
        weight_decay=flags.weight_decay,
        clip_norm=flags.clip_norm,
        ema=flags.get("ema"),
        accumulate=flags.get("accumulate", 1),
        axis=setup.axis,
    )


def schedule(setup: Setup) -> Callable[[int], float]:
    """Tell the learning rate of each step.

    Args:
      setup: as in `build`.

    Returns:
      A function from the step, counted from 0, to the rate of the update that it belongs to.
    """
    by_update, accumulate = _by_update(setup), setup.flags.get("accumulate", 1)
    if setup.flags.schedule != "constant" or setup.flags.warmup:
        by_update = jax.jit(by_update)  # one program in place of one for each operation
    return lambda step: float(by_update(step // accumulate))


def _by_update(setup: Setup) -> optax.Schedule:
    flags = setup.flags
    updates = max(1, setup.steps // flags.get("accumulate", 1))
    return create_schedule(flags.schedule, flags.learning_rate, updates, round(flags.warmup * updates))


def averaged(learner: Learner, setup: Setup) -> Learner:
    """Measure the average of the parameters where `--ema` asks for one.

    Args:
      learner: whose optimizer `build` made.
      setup: with the flag `ema`.

    Returns:
      The learner, evaluated and used by the average; as it is without `--ema`.
    """
    return use_ema(learner) if setup.flags.ema else learner
