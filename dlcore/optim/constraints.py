"""Constraints on parameters after every step: take the step, then project its result.

    projected gradient:   w <- P(w - eta g)
    max-norm:             P scales each unit's incoming weights to a norm of at most c
    proximal L1:          P(w) = sign(w) max(|w| - eta lambda, 0), the minimizer of 1/2 (v - w)^2 + eta lambda |v|

Srebro & Shraibman 2005 and Srivastava et al. 2014 (max-norm); Daubechies et al. 2004 and Beck & Teboulle 2009 (the
proximal step, ISTA). optax has projections of whole trees (`optax.projections`), not these transformations. They go
last in a chain, after the learning rate.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.ops.checks import check_range, check_shapes
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.square_root import safe_sqrt
from dlcore.optim._rules import check_above_0, check_at_least_0

__all__ = ["constrain", "l1_proximal", "max_norm", "project_max_norm", "soft_threshold"]


def constrain(project: Callable[[Any], Any]) -> optax.GradientTransformation:
    """Replace each step's result by its projection.

    Args:
      project: function of the pytree of parameters that returns the projected pytree.

    Returns:
      The optax transformation; its updates lead to project(params + updates).
    """

    def update(updates, state, params=None):
        if params is None:
            raise ValueError("params=None: missing; allowed: the parameters, as in update(updates, state, params)")
        return _to(project(optax.apply_updates(params, updates)), params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def project_max_norm(kernel: jax.Array, limit: float | jax.Array, axis: int | Sequence[int] | None = None) -> jax.Array:
    """Scale the norms of a kernel down to at most `limit`; smaller ones stay as they are.

    Args:
      kernel: array, output units on its last axis.
      limit: greatest norm, above 0.
      axis: axes to take the norm over; None for all but the last, each output's incoming weights.

    Returns:
      Array like `kernel`.
    """
    check_shapes(limit=(limit, "... > 0"))
    axis = tuple(range(kernel.ndim - 1)) if axis is None else axis
    if not set(np.ravel(axis)) <= set(range(-kernel.ndim, kernel.ndim)):
        raise ValueError(f"axis={axis}: not an axis; allowed: {-kernel.ndim} to {kernel.ndim - 1}")
    squares = jnp.square(to_acc_dtype(kernel))
    norm = safe_sqrt(squares.sum(axis, keepdims=True))
    return (kernel * jnp.where(norm > limit, limit / jnp.where(norm > limit, norm, 1), 1)).astype(kernel.dtype)


def max_norm(limit: float, axis: int | Sequence[int] | None = None) -> optax.GradientTransformation:
    """Keep the norms of kernels (leaves of two axes or more) at most `limit` after every step.

    Args:
      limit: greatest norm, above 0.
      axis: axes to take the norm over; None for all but the last, each output's incoming weights.

    Returns:
      The optax transformation.
    """
    check_above_0(limit=limit)
    return constrain(
        lambda params: jax.tree.map(lambda w: project_max_norm(w, limit, axis) if w.ndim > 1 else w, params)
    )


def soft_threshold(w: jax.Array, threshold: float | jax.Array) -> jax.Array:
    """Soft thresholding, sign(w) max(|w| - threshold, 0).

    Args:
      w: array.
      threshold: everything nearer to 0 than this becomes 0; at least 0.

    Returns:
      Array like `w`.
    """
    check_range("threshold", threshold, 0)
    return jnp.sign(w) * jnp.maximum(jnp.abs(w) - threshold, 0)


class ProximalState(NamedTuple):
    """The state of `l1_proximal`.

    Args:
      count: [] int32, updates so far.
    """

    count: jax.Array


def l1_proximal(
    learning_rate: optax.ScalarOrSchedule, weight: float, where: Callable[[jax.Array], bool] | None = None
) -> optax.GradientTransformation:
    """Soft thresholding by learning_rate x weight after each step: `chain(sgd(rate), l1_proximal(rate, weight))`.

    Args:
      learning_rate: learning rate of the step, a number or a schedule.
      weight: factor lambda on the L1 penalty, at least 0.
      where: function of a leaf that says whether it is thresholded; None for kernels (two axes or more).

    Returns:
      The optax transformation.
    """
    check_at_least_0(learning_rate=learning_rate, weight=weight)
    where = where or (lambda w: w.ndim > 1)

    def update(updates, state, params=None):
        if params is None:
            raise ValueError("params=None: missing; allowed: the parameters, as in update(updates, state, params)")
        rate = learning_rate(state.count) if callable(learning_rate) else learning_rate
        new = jax.tree.map(
            lambda w: soft_threshold(w, jnp.asarray(rate * weight, w.dtype)) if where(w) else w,
            optax.apply_updates(params, updates),
        )
        return _to(new, params), ProximalState(state.count + 1)

    return optax.GradientTransformation(lambda params: ProximalState(jnp.zeros((), jnp.int32)), update)


def _to(new: Any, params: Any) -> Any:
    return jax.tree.map(lambda a, b: a - b, new, params)
