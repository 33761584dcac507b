"""Figure of dlcore.self_supervised.dinov2_objective; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure
from dlcore.self_supervised.dinov2_objective import koleo_losses

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["dinov2_objective"]


def dinov2_objective() -> "Figure":
    """KoLeo spreads features: 30 points on a circle that begin in a heap, and move along its gradient alone.

    Left: the start (gray) and the end of 300 steps (blue). Right: KoLeo is the negative logarithm of the distance to
    the nearest neighbor. It is largest in the heap, falls quickly, and nears the value of points at even distances
    (dashed).
    """
    figure, (left, right) = new_figure((6.5, 2.8), 1, 2)
    angles = 0.25 * jax.random.normal(jax.random.key(0), (30,))
    mask = jnp.ones(30)

    def points(angles):
        return jnp.stack([jnp.cos(angles), jnp.sin(angles)], -1)

    def loss(angles):
        return koleo_losses(points(angles), mask).mean()

    def step(angles, _):
        value, gradient = jax.value_and_grad(loss)(angles)
        return angles - 0.02 * gradient, value

    end, values = jax.lax.scan(step, angles, length=300)
    for at, color, radius in ((angles, GRAY, 0.85), (end, BLUE, 1.0)):
        left.plot(*(radius * np.asarray(points(at)).T), "o", color=color, markersize=4)
    left.set(xlim=(-1.2, 1.2), ylim=(-1.2, 1.2), aspect="equal", xticks=[], yticks=[])
    right.plot(values, color=BLUE)
    right.axhline(float(loss(2 * jnp.pi * jnp.arange(30) / 30)), color=VERMILION, linestyle="--", linewidth=0.8)
    right.set(xlabel="step", ylabel="KoLeo loss")
    return figure
