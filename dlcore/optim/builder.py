"""One builder from the names and numbers of an experiment's flags to an optax optimizer.

The pieces, in their order:

    clip by value -> clip by global norm -> optimizer on a schedule -> decoupled weight decay on kernels
    -> proximal L1 -> max-norm -> average of the parameters,
    the whole repeated once every `accumulate` steps, fed with gradients averaged over `axis`.
"""

import itertools
import math
from collections.abc import Sequence
from functools import partial
from numbers import Real
from typing import Any

import jax
import optax

from dlcore.choices import check_choice, check_whole_number
from dlcore.ops.kernels import is_kernel
from dlcore.optim import by_hand, constraints, schedules
from dlcore.optim._rules import check_at_least_0
from dlcore.optim.clipping import clip_by_value
from dlcore.optim.ema import track_parameter_ema
from dlcore.optim.plateau import scale_by_plateau

__all__ = ["MOST_MOMENTUM", "OPTIMIZERS", "SCHEDULES", "check_milestones", "create_optimizer", "create_schedule"]

MOST_MOMENTUM = 0.999999
"""Largest decay of a running mean; with 1 nothing enters it, and Adam's correction divides by 0."""

OPTIMIZERS = {
    "sgd": lambda rate, b1, b2, decay: _l2(decay, optax.sgd(rate, None if _off(b1) else b1)),
    "nesterov": lambda rate, b1, b2, decay: _l2(decay, optax.sgd(rate, b1, nesterov=True)),
    "adam": lambda rate, b1, b2, decay: _l2(decay, optax.adam(rate, b1, b2)),
    "amsgrad": lambda rate, b1, b2, decay: _l2(decay, optax.amsgrad(rate, b1, b2)),
    "adamw": lambda rate, b1, b2, decay: optax.adamw(rate, b1, b2, weight_decay=decay, mask=kernels),
    "lamb": lambda rate, b1, b2, decay: optax.lamb(rate, b1, b2, weight_decay=decay, mask=kernels),
    "lars": lambda rate, b1, b2, decay: optax.lars(
        rate, decay, weight_decay_mask=kernels, trust_ratio_mask=kernels, momentum=b1
    ),
    "rmsprop": lambda rate, b1, b2, decay: _l2(decay, optax.rmsprop(rate, decay=b1, eps=1e-7, eps_in_sqrt=False)),
    "adagrad": lambda rate, b1, b2, decay: _l2(decay, by_hand.adagrad(rate)),
    "adadelta": lambda rate, b1, b2, decay: _l2(decay, optax.adadelta(rate, rho=b1)),
    "adamax": lambda rate, b1, b2, decay: _l2(decay, optax.adamax(rate, b1, b2)),
    "nadam": lambda rate, b1, b2, decay: _l2(decay, optax.nadam(rate, b1, b2)),
}

SCHEDULES = {
    "constant": lambda peak, steps, warmup: optax.constant_schedule(peak),
    "cosine": lambda peak, steps, warmup: optax.cosine_decay_schedule(peak, max(1, steps - warmup)),
    "linear": lambda peak, steps, warmup: optax.linear_schedule(peak, 0.0, max(1, steps - warmup)),
    "step": lambda peak, steps, warmup: optax.piecewise_constant_schedule(
        peak, {int(fraction * steps) - warmup: 0.1 for fraction in (0.5, 0.75)}
    ),
    "multi_step": lambda peak, steps, warmup: schedules.multi_step(
        peak, [math.ceil(k * steps / 4) - warmup for k in (1, 2, 3)]
    ),
    "exponential": lambda peak, steps, warmup: schedules.exponential(peak, math.log(100) / max(1, steps - warmup)),
    "polynomial": lambda peak, steps, warmup: schedules.polynomial(peak, max(1, steps - warmup)),
    "inverse_sqrt": lambda peak, steps, warmup: lambda t: schedules.inverse_sqrt(peak)(1 + t / max(1, warmup)),
    "inverse_time": lambda peak, steps, warmup: schedules.inverse_time(peak, 9 / max(1, steps - warmup)),
    "cosine_restarts": lambda peak, steps, warmup: schedules.cosine_restarts(
        peak, max(1, math.ceil((steps - warmup) / 7)), 2
    ),
    "one_cycle": lambda peak, steps, warmup: _one_cycle(peak, steps, warmup),
    "plateau": lambda peak, steps, warmup: optax.constant_schedule(peak),
}
"""Decays after the warm-up. step: a tenth at 50% and 75% of the run; multi_step: at 25%, 50% and 75%; exponential: to
1/100; polynomial: squared, to 0; inverse_sqrt: in units of the warm-up; inverse_time: to 1/10; cosine_restarts: three
cosines, each twice as long as the one before; one_cycle: up to the peak over the warm-up, or over 30% of the run
without one, and down to nearly 0; plateau: constant, times the scale of `create_optimizer(plateau=True)`, which a hook
lowers when validation no longer improves."""


def kernels(params: Any) -> Any:
    """True for the leaves that weight decay applies to."""
    return jax.tree_util.tree_map_with_path(is_kernel, params)


def _off(value: Any) -> bool:
    """None or a plain zero; a traced number is never off."""
    return value is None or (isinstance(value, Real) and value == 0)


def _l2(decay: float, tx: optax.GradientTransformation) -> optax.GradientTransformation:
    if _off(decay):
        return tx
    return optax.chain(optax.add_decayed_weights(decay, mask=kernels), tx)


def create_schedule(
    name: str,
    peak: float,
    steps: int,
    warmup: int = 0,
    milestones: Sequence[float] | None = None,
    decay_factor: float = 0.1,
) -> optax.Schedule:
    """Linear warm-up from 0, then the named decay over the rest of the run.

    Args:
      name: a key of `SCHEDULES`.
      peak: learning rate after the warm-up.
      steps: optimizer updates of the whole run.
      warmup: updates of the warm-up, at most `steps`; 0 for none.
      milestones: updates, counted from the start of the run, at which the rate is multiplied by `decay_factor`; given,
        they replace the decay that `name` stands for.
      decay_factor: factor of each milestone.

    Returns:
      Function of the update's number, from 0, to the learning rate.
    """
    check_choice("schedule", name, SCHEDULES)
    check_at_least_0(peak=peak, decay_factor=decay_factor)
    if not 1 <= steps < math.inf:
        raise ValueError(f"steps={steps}: out of range; allowed: at least 1")
    if not 0 <= warmup <= steps:
        raise ValueError(f"warmup={warmup}: out of range; allowed: 0 to steps={steps}")
    if milestones is not None:
        check_milestones(milestones)
        decay = schedules.multi_step(peak, [math.ceil(m) - warmup for m in milestones], decay_factor)
    else:
        decay = SCHEDULES[name](peak, steps, warmup)
    if not warmup or (name == "one_cycle" and milestones is None):
        return decay
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), decay], [warmup])


def check_milestones(milestones: Sequence[float]) -> None:
    """Check that milestones are positive and rise.

    Args:
      milestones: milestones in updates, steps or epochs.
    """
    marks = [0, *milestones, math.inf]
    if len(marks) < 3 or not all(a < b for a, b in itertools.pairwise(marks)):
        raise ValueError(
            f"milestones={','.join(f'{m:g}' for m in milestones)}: not rising from above 0; allowed: such as 30,60,90"
        )


def _one_cycle(peak: float, steps: int, warmup: int) -> optax.Schedule:
    """One cycle whose rise is the warm-up; both phases have a step at least, and a run of one step has no phases."""
    if steps < 2:
        return optax.constant_schedule(peak)
    rise = warmup / steps if warmup else 0.3
    return schedules.one_cycle(peak, steps, min(max(rise, 1.5 / steps), 1 - 0.5 / steps))


def create_optimizer(
    name: str,
    learning_rate: optax.ScalarOrSchedule,
    *,
    momentum: float = 0.9,
    second_momentum: float = 0.999,
    weight_decay: float = 0.0,
    clip_norm: float | None = None,
    ema: float | None = None,
    accumulate: int = 1,
    plateau: bool = False,
    clip_value: float | None = None,
    l1: float = 0.0,
    max_norm: float | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Return an optimizer by name, with the usual pieces around it.

    A schedule counts optimizer updates: with `accumulate=k` there is one every k steps. ε is outside the root in
    rmsprop and adagrad.

    Args:
      name: a key of `OPTIMIZERS`.
      learning_rate: a number or a schedule.
      momentum: decay of the velocity, Adam's β1, or the decay of the squares in rmsprop and adadelta; adagrad has none.
      second_momentum: Adam's β2, the decay of the squares in adam, amsgrad, adamw, lamb, adamax and nadam; the others
        have none.
      weight_decay: strength on leaves of two axes or more that are no tokens, positions or tables of biases: decoupled
        for adamw and lamb, scaled with the gradient for lars, an L2 term in the gradient for the others.
      clip_norm: greatest global norm of the gradient, above 0; None does not clip.
      ema: decay of an average of the parameters, read by `parameter_ema`; None or 0 keeps none.
      accumulate: steps whose gradients are averaged for one update.
      plateau: multiply updates by a scale that `set_plateau_scale` changes between steps.
      clip_value: greatest absolute value of each derivative, above 0; None does not clip.
      l1: strength of the L1 penalty on the leaves that are decayed, by soft thresholding after each update
        (`l1_proximal`); beside weight_decay, an elastic net.
      max_norm: greatest norm of each output's incoming weights, in the leaves that are decayed; None sets no limit.

    Returns:
      The optax transformation.
    """
    check_choice("optimizer", name, OPTIMIZERS)
    check_whole_number("accumulate", accumulate, 1)
    check_at_least_0(learning_rate=learning_rate, weight_decay=weight_decay, l1=l1)
    for what, decay in (("momentum", momentum), ("second_momentum", second_momentum)):
        # float32 rounds larger ones to 1
        if isinstance(decay, str) or (isinstance(decay, Real) and not 0 <= decay <= MOST_MOMENTUM):
            raise ValueError(f"{what}={decay}: out of range; allowed: 0 to {MOST_MOMENTUM}")
    for what, limit in (("clip_norm", clip_norm), ("clip_value", clip_value), ("max_norm", max_norm)):
        if isinstance(limit, str) or (isinstance(limit, Real) and not limit > 0):
            raise ValueError(f"{what}={limit}: out of range; allowed: above 0, or None")
    build = partial(OPTIMIZERS[name], b1=momentum, b2=second_momentum, decay=weight_decay)
    tx = optax.chain(
        *([] if clip_value is None else [clip_by_value(clip_value)]),
        optax.identity() if _off(clip_norm) else optax.clip_by_global_norm(clip_norm),
        build(learning_rate),
        *([scale_by_plateau()] if plateau else []),
        *([] if _off(l1) else [optax.masked(constraints.l1_proximal(learning_rate, l1), kernels)]),
        *([] if max_norm is None else [optax.masked(constraints.max_norm(max_norm), kernels)]),
        optax.identity() if _off(ema) else track_parameter_ema(ema),
    )
    if accumulate > 1:
        tx = optax.MultiSteps(tx, accumulate).gradient_transformation()
    return optax.with_extra_args_support(tx)
