"""Parameters that obey a rule after every step: the step is taken, then its result is put back where it belongs.

    projected gradient:   w <- P(w - eta g)
    max-norm:             P scales each unit's incoming weights to a norm of at most c
    proximal L1:          P(w) = sign(w) max(|w| - eta lambda, 0), the minimiser of 1/2 (v - w)^2 + eta lambda |v|

Srebro & Shraibman 2005 and Srivastava et al. 2014 (max-norm); Daubechies et al. 2004 and Beck & Teboulle 2009 (the
proximal step, ISTA). optax has projections of whole trees (`optax.projections`), not these transformations. They go
last in a chain, after the learning rate.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

__all__ = ["constrain", "l1_proximal", "max_norm", "project_max_norm", "soft_threshold"]


def constrain(project: Callable[[Any], Any]) -> optax.GradientTransformation:
    """Updates that lead to `project(params + updates)` in place of params + updates. project: tree -> tree."""

    def update(updates, state, params=None):
        if params is None:
            raise ValueError("constrain needs params: call update(updates, state, params)")
        return _to(project(optax.apply_updates(params, updates)), params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def project_max_norm(kernel: jax.Array, limit: float | jax.Array, axis: int | Sequence[int] | None = None) -> jax.Array:
    """The kernel with every norm over `axis` brought down to at most `limit`; smaller ones stay as they are.

    axis: by default all but the last, so that it is the norm of each output's incoming weights.
    """
    axis = tuple(range(kernel.ndim - 1)) if axis is None else axis
    squares = jnp.square(kernel.astype(jnp.promote_types(kernel.dtype, jnp.float32)))
    norm = jnp.sqrt(squares.sum(axis, keepdims=True))
    return (kernel * jnp.where(norm > limit, limit / jnp.where(norm > limit, norm, 1), 1)).astype(kernel.dtype)


def max_norm(limit: float, axis: int | Sequence[int] | None = None) -> optax.GradientTransformation:
    """After each step, kernels (leaves of two axes or more) have norms of at most `limit` over `axis`.

    Raises: ValueError for a limit that is not positive.
    """
    if isinstance(limit, int | float) and not limit > 0:
        raise ValueError(f"limit={limit} must be positive")
    return constrain(
        lambda params: jax.tree.map(lambda w: project_max_norm(w, limit, axis) if w.ndim > 1 else w, params)
    )


def soft_threshold(w: jax.Array, threshold: float | jax.Array) -> jax.Array:
    """sign(w) max(|w| - threshold, 0): everything nearer to 0 than `threshold` becomes 0."""
    return jnp.sign(w) * jnp.maximum(jnp.abs(w) - threshold, 0)


class ProximalState(NamedTuple):
    """count: [] int32 updates seen."""

    count: jax.Array


def l1_proximal(
    learning_rate: optax.ScalarOrSchedule, weight: float, where: Callable[[jax.Array], bool] | None = None
) -> optax.GradientTransformation:
    """Soft thresholding by learning_rate x weight after each step: `chain(sgd(rate), l1_proximal(rate, weight))`.

    learning_rate: that of the step, a number or a schedule. where: which leaves; kernels (two axes or more) by default.

    Raises: ValueError for a negative weight.
    """
    if isinstance(weight, int | float) and not weight >= 0:
        raise ValueError(f"weight={weight} must be at least 0")
    where = where or (lambda w: w.ndim > 1)

    def update(updates, state, params=None):
        if params is None:
            raise ValueError("l1_proximal needs params: call update(updates, state, params)")
        rate = learning_rate(state.count) if callable(learning_rate) else learning_rate
        new = jax.tree.map(
            lambda w: soft_threshold(w, jnp.asarray(rate * weight, w.dtype)) if where(w) else w,
            optax.apply_updates(params, updates),
        )
        return _to(new, params), ProximalState(state.count + 1)

    return optax.GradientTransformation(lambda params: ProximalState(jnp.zeros((), jnp.int32)), update)


def _to(new: Any, params: Any) -> Any:
    return jax.tree.map(lambda a, b: a - b, new, params)
