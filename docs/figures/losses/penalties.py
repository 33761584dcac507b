"""Figure of dlcore.losses.penalties; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from dlcore.losses.penalties import elastic_net_penalty, l1_penalty, l2_penalty
from dlcore.report.figure import BLUE, GREEN, LIGHT_GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["penalties"]


def penalties() -> "Figure":
    """Minimum of a quadratic loss of two weights plus a penalty, whose strength grows from 0.

    Left: the path of the minimum from that of the loss alone (cross) toward 0, on contours of the loss. Right: the
    second weight against the strength. L2 shrinks it and never reaches 0; L1 and the elastic net make it exactly 0 and
    keep the first, which the loss needs more.
    """
    figure, (left, right) = new_figure((7, 2.9), 1, 2)
    axis = jnp.linspace(-0.2, 1.6, 541)
    grid = jnp.stack(jnp.meshgrid(axis, axis, indexing="ij"), -1)
    difference = grid - jnp.array([1.4, 0.5])
    data_loss = difference[..., 0] ** 2 + 0.6 * difference[..., 0] * difference[..., 1] + 0.5 * difference[..., 1] ** 2
    strengths = jnp.linspace(0, 2, 81)
    left.contour(axis, axis, data_loss.T, levels=[0.02, 0.1, 0.3, 0.7, 1.2, 2], colors=LIGHT_GRAY, linewidths=0.8)
    rules = (
        ("L2", l2_penalty, BLUE, "-"),
        ("L1", l1_penalty, VERMILION, "--"),
        ("elastic net", lambda w: elastic_net_penalty(w, 0.5), GREEN, "-."),
    )
    for name, penalty, color, style in rules:
        cost = jax.vmap(jax.vmap(penalty))(grid)
        best = jax.vmap(lambda strength, cost=cost: jnp.argmin(data_loss + strength * cost))(strengths)
        path = grid.reshape(-1, 2)[best]
        left.plot(*path.T, style, color=color, label=name)
        right.plot(strengths, path[:, 1], style, color=color)
    left.plot(1.4, 0.5, "x", color="black")
    left.set(xlabel="w1", ylabel="w2", xlim=(-0.1, 1.6), ylim=(-0.1, 1.1))
    right.set(xlabel="strength of the penalty", ylabel="w2")
    left.legend(frameon=False, loc="upper left")
    return figure
