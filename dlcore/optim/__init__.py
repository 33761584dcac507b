"""Optimizer pieces that optax lacks, as GradientTransformations, and one builder for the flags of an experiment."""

from dlcore.optim import by_hand, schedules
from dlcore.optim.adamw import AccumulatingAdamW, AdamW, AveragedAdamW, EMAAdamW, GANAdam
from dlcore.optim.apply import apply_gradients, apply_part_gradients, init_model_state, init_state, optimizer_step
from dlcore.optim.averaging import recompute_batch_stats, swa_params, track_swa
from dlcore.optim.builder import OPTIMIZERS, SCHEDULES, create_optimizer, create_schedule
from dlcore.optim.clipping import clip_by_norm, clip_by_value
from dlcore.optim.constraints import constrain, l1_proximal, max_norm, project_max_norm, soft_threshold
from dlcore.optim.ema import parameter_ema, track_parameter_ema, use_ema
from dlcore.optim.line_search import armijo_backtracking, strong_wolfe
from dlcore.optim.loss_scaling import DynamicLossScale, dynamic_loss_scale, loss_scale
from dlcore.optim.replica import cross_replica
from dlcore.optim.schedules import Plateau, batch_ramp, linear_scaling
from dlcore.optim.second_order import bfgs, lbfgs, newton_step

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "AccumulatingAdamW",
    "AdamW",
    "AveragedAdamW",
    "DynamicLossScale",
    "EMAAdamW",
    "GANAdam",
    "Plateau",
    "apply_gradients",
    "apply_part_gradients",
    "armijo_backtracking",
    "batch_ramp",
    "bfgs",
    "by_hand",
    "clip_by_norm",
    "clip_by_value",
    "constrain",
    "create_optimizer",
    "create_schedule",
    "cross_replica",
    "dynamic_loss_scale",
    "init_model_state",
    "init_state",
    "l1_proximal",
    "lbfgs",
    "linear_scaling",
    "loss_scale",
    "max_norm",
    "newton_step",
    "optimizer_step",
    "parameter_ema",
    "project_max_norm",
    "recompute_batch_stats",
    "schedules",
    "soft_threshold",
    "strong_wolfe",
    "swa_params",
    "track_parameter_ema",
    "track_swa",
    "use_ema",
]
