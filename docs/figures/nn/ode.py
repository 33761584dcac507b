"""Figure of dlcore.nn.ode; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.nn.ode import odeint
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ode"]


def ode() -> "Figure":
    """Left: two turns of an oscillation, whose exact path is a circle, by solvers of 16 steps a turn.

    Euler's steps (along the tangent) spiral outward; Runge-Kutta's (rk4) stay on the circle. Middle: the error against
    the number of steps. Right: the gradient of the adjoint method less that through the steps; Euler's backward path is
    not the forward one.
    """
    figure, (left, middle, right) = new_figure((7.4, 2.6), 1, 3)

    def field(theta, _, h):
        return theta * jnp.stack([-h[1], h[0]])

    start, end = jnp.array([1.0, 0.0]), 2 * jnp.pi
    circle = np.linspace(0, 2 * np.pi, 100)
    left.plot(np.cos(circle), np.sin(circle), color=GRAY, linewidth=3, alpha=0.4)
    counts = 2 ** np.arange(3, 10)
    for method, color, style in (("euler", VERMILION, "o-"), ("rk4", BLUE, "s--")):
        path = odeint(field, 1.0, start, jnp.linspace(0, 2 * end, 33), method=method)
        left.plot(*path.T, style, color=color, markersize=3, label=method)
        errors, gaps = [], []
        for count in counts:

            def final(theta, gradient="direct", count=int(count), method=method):
                times = jnp.array([0.0, end])
                return odeint(field, theta, start, times, steps=count, method=method, gradient=gradient)[-1]

            errors.append(float(jnp.linalg.norm(final(1.0) - start)))
            slopes = [jax.grad(lambda t, g=g: final(t, g)[1])(1.0) for g in ("direct", "adjoint")]
            gaps.append(abs(float(slopes[0] - slopes[1])))
        middle.loglog(counts, errors, style, color=color, markersize=3, label=method)
        right.loglog(counts, gaps, style, color=color, markersize=3)
    left.set(aspect="equal", xlabel="h1", ylabel="h2")
    middle.legend(frameon=False, fontsize=8, loc="lower left")
    middle.set(xlabel="steps a turn", ylabel="error of the state")
    right.set(xlabel="steps a turn", ylabel="difference of gradients")
    return figure
