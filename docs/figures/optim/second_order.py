"""Figure of dlcore.optim.second_order; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.optim.second_order import bfgs, lbfgs, newton_step
from dlcore.report.figure import BLUE, GREEN, LIGHT_GRAY, ORANGE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["second_order"]


def second_order() -> "Figure":
    """Minimizers on the Rosenbrock function, a bent valley with its minimum at (1, 1).

    Left: their paths on contours. Newton's steps leap across the valley; BFGS and L-BFGS, which only see gradients,
    follow its bend. Right: the value after each step. All three fall faster and faster at the end; gradient descent
    (rate 0.002) creeps along the valley.
    """
    figure, (left, right) = new_figure((7, 2.9), 1, 2)

    def function(w):
        return (1 - w[0]) ** 2 + 20 * (w[1] - w[0] ** 2) ** 2

    x, y = np.meshgrid(np.linspace(-1.7, 1.7, 120), np.linspace(-0.8, 2.4, 120))
    left.contour(x, y, function((x, y)), levels=[0.1, 0.5, 2, 5, 12, 30, 70], colors=LIGHT_GRAY, linewidths=0.8)
    start = np.array([-1.2, 1.0])
    newton, descent = [jnp.asarray(start)], [jnp.asarray(start)]
    step, slope = jax.jit(lambda w: newton_step(function, w)), jax.jit(jax.grad(function))
    for _ in range(40):
        newton.append(step(newton[-1]))
        descent.append(descent[-1] - 0.002 * slope(descent[-1]))
    paths = (
        ("descent", np.array(descent), ORANGE, ".-"),
        ("Newton", np.array(newton), VERMILION, "o-"),
        ("BFGS", bfgs(function, start, steps=40).points, BLUE, "s--"),
        ("L-BFGS", lbfgs(function, start, steps=40, memory=3).points, GREEN, "^:"),
    )
    for name, path, color, style in paths:
        left.plot(*path.T, style, color=color, markersize=3, linewidth=1)
        values = np.maximum([float(function(w)) for w in path], 1e-14)
        right.semilogy(values, style, color=color, markersize=3, label=name)
    left.set(xlabel="w1", ylabel="w2", xlim=(-1.7, 1.7), ylim=(-0.8, 2.4))
    right.set(xlabel="step", ylabel="value", ylim=(1e-12, 100))
    right.legend(frameon=False, fontsize=8)
    return figure
