"""Optimiser pieces that optax lacks, as GradientTransformations, and one builder for the flags of a page."""

from dlcore.optim.builder import OPTIMIZERS, SCHEDULES, create_optimizer, create_schedule
from dlcore.optim.ema import parameter_ema, track_parameter_ema, use_ema
from dlcore.optim.replica import cross_replica

__all__ = [
    "OPTIMIZERS", "SCHEDULES", "create_optimizer", "create_schedule", "cross_replica", "parameter_ema",
    "track_parameter_ema", "use_ema",
]  # fmt: skip
