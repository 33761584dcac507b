"""Figure of dlcore.optim.by_hand; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.optim import by_hand as rules
from dlcore.report.figure import BLUE, GREEN, LIGHT_GRAY, ORANGE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["by_hand"]


def by_hand() -> "Figure":
    """Paths of four rules in a long valley, 30 times as steep across as along, from the same start.

    Left: on contours of the loss. Plain gradient descent jumps from side to side and creeps along; momentum swings,
    then runs along the valley; RMSProp and Adam scale each coordinate, so both progress alike. Right: the loss of these
    steps. The rates are chosen for each rule.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2, width_ratios=(1.4, 1))

    def loss(w):
        return 0.5 * (w[0] ** 2 + 30 * w[1] ** 2)

    x, y = np.meshgrid(np.linspace(-4.5, 1.5, 100), np.linspace(-1.3, 1.3, 80))
    left.contour(x, y, loss((x, y)), levels=np.array([0.1, 0.6, 2, 5, 10, 17, 26]), colors=LIGHT_GRAY, linewidths=0.8)
    choices = (
        ("gradient descent", rules.gradient_descent(0.06), VERMILION, "o-"),
        ("momentum", rules.momentum(0.02, 0.8), BLUE, "s-"),
        ("RMSProp", rules.rmsprop(0.1), GREEN, "^-"),
        ("Adam", rules.adam(0.3), ORANGE, "D-"),
    )
    start = jnp.array([-4.0, 1.0])
    for name, rule, color, style in choices:

        def step(carry, _, rule=rule):
            updates, state = rule.update(jax.grad(loss)(carry[0]), carry[1], carry[0])
            w = carry[0] + updates
            return (w, state), w

        path = jax.lax.scan(step, (start, rule.init(start)), length=40)[1]
        path = np.concatenate([start[None], path])
        left.plot(*path[:25].T, style, color=color, markersize=2.5, linewidth=0.9, label=name)
        right.semilogy([float(loss(w)) for w in path], style[1:], color=color)
    left.set(xlabel="w1", ylabel="w2", ylim=(-1.3, 2.4))
    left.legend(frameon=False, fontsize=8, ncols=2, loc="upper center")
    right.set(xlabel="step", ylabel="loss")
    return figure
