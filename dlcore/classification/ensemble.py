"""Several classifiers that answer together: the average of what they say, and snapshots of one run as its members.

    p(x) = 1/K sum_k softmax(f_k(x))                      "probabilities": never worse than the mean member in log loss
    p(x) = softmax(1/K sum_k f_k(x))                      "logits": the normalised geometric mean

Hansen & Salamon 1990. -log is convex, so by Jensen -log p_y <= 1/K sum_k -log p_ky, for every example; the geometric
mean has that property too. Snapshots: Huang, Li, Pleiss, Liu, Hopcroft & Weinberger 2017, arXiv:1704.00109: one run
under K cosine cycles of the learning rate (`dlcore.optim.schedules.cosine_restarts(rate, steps / K)`), of which the
parameters at the end of each cycle are kept. The same average serves for several crops of one image.
"""

from typing import Literal

import jax
import jax.numpy as jnp

__all__ = ["ensemble_log_probabilities", "snapshot_steps"]


def ensemble_log_probabilities(
    logits: jax.Array, average: Literal["probabilities", "logits"] = "probabilities", axis: int = 0
) -> jax.Array:
    """log p [..., C] of scores [K, ..., C], averaged over the members along `axis`.

    Raises: ValueError for another average, or without members.
    """
    if average not in ("probabilities", "logits"):
        raise ValueError(f"average is {average!r}; it must be 'probabilities' or 'logits'")
    if logits.ndim < 2 or not logits.shape[axis]:
        raise ValueError(f"logits has shape {logits.shape}; [K, ..., C] with at least one member is needed")
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    if average == "logits":
        return jax.nn.log_softmax(logits.mean(axis))
    return jax.nn.logsumexp(jax.nn.log_softmax(logits), axis) - jnp.log(logits.shape[axis])


def snapshot_steps(steps: int, cycles: int) -> tuple[int, ...]:
    """After which updates of `steps` to keep the parameters: the ends of `cycles` cycles, the last one `steps` itself.

    Cycles are ceil(steps / cycles) long, the last may be shorter. Raises: ValueError unless 1 <= cycles <= steps.
    """
    if not 1 <= cycles <= steps:
        raise ValueError(f"cycles is {cycles}; it must be in [1, steps={steps}]")
    length = -(-steps // cycles)
    return tuple(min(length * cycle, steps) for cycle in range(1, -(-steps // length) + 1))
