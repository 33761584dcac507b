"""Figure of dlcore.losses.regression; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from dlcore.losses.regression import huber_loss, l1_loss, mse_loss
from dlcore.report.figure import BLUE, GREEN, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["regression"]


def regression() -> "Figure":
    """Left: the slope of three losses, the pull of one example on the prediction, against its error.

    Right: ten targets lie evenly from -1 to 1, and another moves away. The constant with the least mean loss follows it
    without end for squares; for the Huber loss (threshold 0.5) and for absolute values, whose best constant is the
    median, it soon stops.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    losses = (
        ("squares", mse_loss, VERMILION, "-"),
        ("Huber", lambda x, t: huber_loss(x, t, 0.5), GREEN, "-"),
        ("absolute", l1_loss, BLUE, "--"),
    )
    error, constants, outliers = jnp.linspace(-2, 2, 201), jnp.linspace(-1, 2, 1201), jnp.linspace(0, 10, 101)
    for name, loss, color, style in losses:
        slope = jax.vmap(jax.grad(lambda d, loss=loss: loss(d[None], jnp.zeros(1))))(error)
        left.plot(error, slope, style, color=color, label=name)

        def best(outlier, loss=loss):
            targets = jnp.append(jnp.linspace(-1, 1, 10), outlier)
            costs = jax.vmap(lambda c: loss(jnp.full(11, c), targets))(constants)
            return constants[jnp.argmin(costs)]

        right.plot(outliers, jax.vmap(best)(outliers), style, color=color)
    left.set(xlabel="error", ylabel="slope of the loss", ylim=(-3, 3))
    right.set(xlabel="position of the eleventh target", ylabel="best constant")
    left.legend(frameon=False)
    return figure
