"""Optimiser pieces that optax lacks, as GradientTransformations, and one builder for the flags of a page."""

from dlcore.optim import by_hand, schedules
from dlcore.optim.builder import OPTIMIZERS, SCHEDULES, create_optimizer, create_schedule
from dlcore.optim.clipping import clip_by_norm, clip_by_value
from dlcore.optim.ema import parameter_ema, track_parameter_ema, use_ema
from dlcore.optim.line_search import armijo_backtracking, strong_wolfe
from dlcore.optim.replica import cross_replica
from dlcore.optim.schedules import Plateau, batch_ramp, linear_scaling
from dlcore.optim.second_order import bfgs, lbfgs, newton_step

__all__ = [
    "OPTIMIZERS", "SCHEDULES", "Plateau", "armijo_backtracking", "batch_ramp", "bfgs", "by_hand", "clip_by_norm",
    "clip_by_value", "create_optimizer", "create_schedule", "cross_replica", "lbfgs", "linear_scaling", "newton_step",
    "parameter_ema", "schedules", "strong_wolfe", "track_parameter_ema", "use_ema",
]  # fmt: skip
