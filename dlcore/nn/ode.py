"""Ordinary differential equations as layers: solvers of fixed step, and the adjoint method.

Chen et al. 2018, "Neural ordinary differential equations", arXiv:1806.07366. With dh/dt = f(theta, t, h) and steps d:

    euler    h' = h + d f(t, h)                                               d = 1: a residual network, a layer a step
    rk4      h' = h + d/6 (k1 + 2 k2 + 2 k3 + k4),   k1 = f(t, h),            Kutta 1901
             k2 = f(t + d/2, h + d/2 k1),  k3 = f(t + d/2, h + d/2 k2),  k4 = f(t + d, h + d k3)

The error at a fixed time falls 2 and 16 times when the steps double. Two ways to the gradient: "direct" differentiates
the steps, and keeps every one of them; "adjoint" keeps the states at the asked times alone and solves, backwards in
time and by the same method,

    dh/dt = f,   da/dt = -a^T df/dh,   dg/dt = -a^T df/dtheta,   a = dL/dh at the last time, g = 0

where a grows by the loss's gradient at each asked time, and h starts anew from what the forward pass had there. Its
result is the gradient of the equation, not of the steps: it differs from "direct" by the solver's error. The adjoint
has no forward mode.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_choice, check_whole_number
from dlcore.ops.checks import check_finite

__all__ = ["odeint"]

Field = Callable[[Any, jax.Array, Any], Any]


def odeint(
    field: Field,
    theta: Any,
    state: Any,
    times: jax.Array,
    *,
    steps: int = 1,
    method: Literal["euler", "rk4"] = "rk4",
    gradient: Literal["direct", "adjoint"] = "direct",
) -> Any:
    """Solve dh/dt = field(theta, t, h) from a state on.

    Args:
      field: (theta, t, h) -> dh/dt, like h. What it closes over gets no gradient by the adjoint method, which refuses
        traced values there: pass them in theta.
      theta: parameters of the field, a pytree of float arrays.
      state: h at times[0], a pytree of float arrays.
      times: [N] float, rising or falling.
      steps: number of steps of the solver between two times.
      method: the solver's rule.
      gradient: how to differentiate; all of theta, state and times get gradients.

    Returns:
      h at all N times, leaves [N, ...]; the first is `state`.
    """
    check_choice("method", method, _RULES)
    check_choice("gradient", gradient, ("direct", "adjoint"))
    check_whole_number("steps", steps, 1)
    times = jnp.asarray(times)
    if times.ndim != 1 or not len(times):
        raise ValueError(f"times.shape={times.shape}: no times; allowed: [N], N at least 1")
    check_finite("times", times)
    _check_order(times)
    theta, state = jax.tree.map(jnp.asarray, (theta, state))
    solve = _solve if gradient == "direct" else _solve_by_adjoint
    return solve(field, steps, method, theta, state, times)


def _check_order(times: jax.Array) -> None:
    """Refuse concrete times that turn; equal ones in a row may stand there."""
    if isinstance(times, jax.core.Tracer):
        return
    gaps = np.diff(np.asarray(times))
    if (gaps > 0).any() and (gaps < 0).any():
        raise ValueError(f"times={np.asarray(times).tolist()}: they turn; allowed: numbers that rise or fall")


def _plus(h: Any, d: jax.Array, k: Any) -> Any:
    return jax.tree.map(lambda h, k: h + (d * k).astype(h.dtype), h, k)


def _euler(f: Callable, t: jax.Array, h: Any, d: jax.Array) -> Any:
    return _plus(h, d, f(t, h))


def _rk4(f: Callable, t: jax.Array, h: Any, d: jax.Array) -> Any:
    k1 = f(t, h)
    k2 = f(t + d / 2, _plus(h, d / 2, k1))
    k3 = f(t + d / 2, _plus(h, d / 2, k2))
    k4 = f(t + d, _plus(h, d, k3))
    return _plus(h, d / 6, jax.tree.map(lambda a, b, c, e: a + 2 * b + 2 * c + e, k1, k2, k3, k4))


_RULES = {"euler": _euler, "rk4": _rk4}


def _between(f: Callable, steps: int, method: str, h: Any, start: jax.Array, end: jax.Array) -> Any:
    d = (end - start) / steps

    def step(h, k):
        return _RULES[method](f, start + k * d, h, d), None

    return jax.lax.scan(step, h, jnp.arange(steps))[0]


def _solve(field: Field, steps: int, method: str, theta: Any, state: Any, times: jax.Array) -> Any:
    def interval(h, endpoints):
        h = _between(functools.partial(field, theta), steps, method, h, *endpoints)
        return h, h

    _, later = jax.lax.scan(interval, state, (times[:-1], times[1:]))
    return jax.tree.map(lambda h, hs: jnp.concatenate([h[None], hs]), state, later)


_solve_by_adjoint = jax.custom_vjp(_solve, nondiff_argnums=(0, 1, 2))


def _forward(field: Field, steps: int, method: str, theta: Any, state: Any, times: jax.Array) -> tuple:
    states = _solve(field, steps, method, theta, state, times)
    return states, (theta, states, times)


def _backward(field: Field, steps: int, method: str, residuals: tuple, gradients: Any) -> tuple:
    theta, states, times = residuals

    def augmented(t, carry):
        h, a, _ = carry
        velocity, pull = jax.vjp(lambda theta, h: field(theta, t, h), theta, h)
        d_theta, d_h = pull(a)
        return velocity, jax.tree.map(jnp.negative, d_h), jax.tree.map(jnp.negative, d_theta)

    def velocity_along(t, h, a):
        """a^T f(t, h): how fast the loss changes if a state is read a little later."""
        products = jax.tree.map(lambda v, a: (v * a).sum(), field(theta, t, h), a)
        return sum(jax.tree.leaves(products)).astype(times.dtype)

    def interval(carry, inputs):
        a, g = carry
        start, end, h, cotangent = inputs  # backwards: from the later time to the earlier one
        a = jax.tree.map(jnp.add, a, cotangent)
        d_time = velocity_along(start, h, cotangent)
        _, a, g = _between(augmented, steps, method, (h, a, g), start, end)
        return (a, g), d_time

    later = jax.tree.map(lambda h: h[1:], (states, gradients))
    zeros = jax.tree.map(lambda h: jnp.zeros_like(h[0]), states), jax.tree.map(jnp.zeros_like, theta)
    (a, g), d_times = jax.lax.scan(interval, zeros, (times[1:], times[:-1], *later), reverse=True)
    d_first = -velocity_along(times[0], jax.tree.map(lambda h: h[0], states), a)
    a = jax.tree.map(lambda a, cotangent: a + cotangent[0], a, gradients)
    return g, a, jnp.concatenate([d_first[None], d_times])


_solve_by_adjoint.defvjp(_forward, _backward)
