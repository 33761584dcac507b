"""Ensembles: the average of several classifiers' predictions, and snapshots of one run as members.

    p(x) = 1/K sum_k softmax(f_k(x))                      "probabilities": never worse than the mean member in log loss
    p(x) = softmax(1/K sum_k f_k(x))                      "logits": the normalized geometric mean

Hansen & Salamon 1990. -log is convex, so by Jensen -log p_y <= 1/K sum_k -log p_ky, for every example; the geometric
mean has that property too. Snapshots: Huang, Li, Pleiss, Liu, Hopcroft & Weinberger 2017, arXiv:1704.00109: one run
under K cosine cycles of the learning rate (`dlcore.optim.schedules.cosine_restarts(rate, steps / K)`), whose parameters
at the end of each cycle become members. The same average serves for several crops of one image.
"""

from typing import Literal

import jax
import jax.numpy as jnp

from dlcore.choices import check_choice, check_whole_number
from dlcore.ops.precision import to_acc_dtype

__all__ = ["ensemble_log_probabilities", "snapshot_steps"]


def ensemble_log_probabilities(
    logits: jax.Array, average: Literal["probabilities", "logits"] = "probabilities", axis: int = 0
) -> jax.Array:
    """Average the predictions of an ensemble.

    Args:
      logits: [K, ..., C], of K members.
      average: average the members' probabilities, or their logits.
      axis: axis of the members.

    Returns:
      log p [..., C], at least float32.
    """
    check_choice("average", average, ("probabilities", "logits"))
    check_whole_number("axis", axis)
    logits = jnp.asarray(logits)
    if logits.ndim >= 2 and not (-logits.ndim <= axis < logits.ndim - 1 and axis != -1):
        raise ValueError(f"axis={axis}: not the members'; allowed: 0 to {logits.ndim - 2}; the classes are last")
    if logits.ndim < 2 or not logits.shape[axis]:
        raise ValueError(f"logits={logits.shape}: no member; allowed: [K, ..., C] of at least one")
    logits = to_acc_dtype(logits)
    if average == "logits":
        return jax.nn.log_softmax(logits.mean(axis))
    return jax.nn.logsumexp(jax.nn.log_softmax(logits), axis) - jnp.log(logits.shape[axis])


def snapshot_steps(steps: int, cycles: int) -> tuple[int, ...]:
    """List the updates after which a snapshot is taken: the end of each cycle.

    Args:
      steps: number of updates of the run.
      cycles: number of learning rate cycles, each ceil(steps / cycles) long; the last may be shorter.

    Returns:
      Ascending numbers of updates, the last one `steps`.
    """
    check_whole_number("steps", steps)
    check_whole_number("cycles", cycles)
    if not 1 <= cycles <= steps:
        raise ValueError(f"cycles={cycles}: out of range; allowed: 1 to {steps}")
    length = -(-steps // cycles)
    return tuple(min(length * cycle, steps) for cycle in range(1, -(-steps // length) + 1))
