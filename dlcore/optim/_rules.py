"""What the optimizers by hand share: their state, and a rule for one array applied to a tree."""

import math
from collections.abc import Callable
from numbers import Real
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
import optax

__all__ = ["ByHandState", "Rate", "check_above_0", "check_at_least_0", "each_array", "root"]

Rate = optax.ScalarOrSchedule


class ByHandState(NamedTuple):
    """The state of an optimizer by hand.

    Args:
      count: [] int32, steps taken.
      slots: {name: pytree with one array a parameter}, such as a running mean or a velocity.
    """

    count: jax.Array
    slots: dict[str, Any]


def concrete(value: Any) -> Any:
    """Return the number in an array of one that is not traced, and anything else as it is.

    Args:
      value: number, array or schedule.

    Returns:
      The number, or `value`.
    """
    is_array = isinstance(value, jax.Array | np.ndarray | np.generic) and not isinstance(value, jax.core.Tracer)
    return value.item() if is_array and value.ndim == 0 else value


def check_above_0(**numbers: Any) -> None:
    """Check limits and other numbers that are above 0; infinity, which limits nothing, is one.

    Args:
      **numbers: each by the name of its argument; traced ones and arrays of several pass.
    """
    for name, value in numbers.items():
        value = concrete(value)
        if value is None or isinstance(value, str) or (isinstance(value, Real) and not value > 0):
            raise ValueError(f"{name}={value!r}: out of range; allowed: above 0")


def check_at_least_0(**numbers: Any) -> None:
    """Check rates, decays and other numbers that are finite and at least 0.

    Args:
      **numbers: each by the name of its argument; schedules, traced numbers and arrays of several pass.
    """
    for name, value in numbers.items():
        value = concrete(value)
        if value is None or isinstance(value, str) or (isinstance(value, Real) and not 0 <= value < math.inf):
            raise ValueError(f"{name}={value!r}: out of range; allowed: finite, at least 0")


def each_array(rule: Callable, rate: Rate, **slots: Callable) -> optax.GradientTransformation:
    """Apply a rule for one array to every array of a tree.

    Args:
      rule: (g, w, s, t, a) -> (what is added to w, s), where s holds that array's slots.
      rate: learning rate a, a number or a schedule.
      **slots: functions from w to the slots' initial values, by name.

    Returns:
      The optax transformation.
    """
    check_at_least_0(learning_rate=rate)

    def init(params):
        return ByHandState(jnp.zeros((), jnp.int32), {n: jax.tree.map(start, params) for n, start in slots.items()})

    def update(gradients, state, params=None):
        if params is None:
            raise ValueError("params=None: missing; allowed: the parameters, as in update(gradients, state, params)")
        t = state.count + 1
        a = rate(state.count) if callable(rate) else rate
        leaves, structure = jax.tree.flatten(gradients)
        arrays = structure.flatten_up_to(params)
        before = {name: structure.flatten_up_to(slot) for name, slot in state.slots.items()}
        added, after = [], {name: [] for name in slots}
        for i, (g, w) in enumerate(zip(leaves, arrays, strict=True)):
            step, s = rule(g, w, {name: slot[i] for name, slot in before.items()}, t, a)
            added.append(step.astype(w.dtype))
            for name in slots:
                after[name].append(s[name].astype(before[name][i].dtype))
        return structure.unflatten(added), ByHandState(t, {n: structure.unflatten(s) for n, s in after.items()})

    return optax.GradientTransformation(init, update)


def root(v: jax.Array, eps: float, inside: bool) -> jax.Array:
    """sqrt(v) with ε.

    Args:
      v: running mean of squares.
      eps: ε.
      inside: add ε under the root.

    Returns:
      Array like `v`.
    """
    return jnp.sqrt(v + eps) if inside else jnp.sqrt(v) + eps
