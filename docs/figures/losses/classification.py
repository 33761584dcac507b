"""Figure of dlcore.losses.classification; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from dlcore.losses.classification import multiclass_hinge_loss, softmax_cross_entropy_loss, squared_hinge_loss
from dlcore.report.figure import BLUE, GRAY, GREEN, ORANGE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["classification"]


def classification() -> "Figure":
    """Losses of an example of three classes against the lead of its true score, and their slopes.

    The other two scores are 0. The cross-entropy always asks for more, a little. The hinge stops at a lead of 1. With
    label smoothing of 0.1 the slope turns positive beyond a lead of 3.3 (dotted): a larger lead costs again. The
    squared hinge is steepest far on the wrong side.
    """
    figure, (left, right) = new_figure((7, 2.9), 1, 2)
    lead = jnp.linspace(-3, 6, 181)
    losses = (
        ("cross-entropy", softmax_cross_entropy_loss, BLUE, "-"),
        ("smoothed by 0.1", lambda s, y: softmax_cross_entropy_loss(s, y, 0.1), GREEN, "--"),
        ("hinge", multiclass_hinge_loss, VERMILION, "-"),
        ("squared hinge", squared_hinge_loss, ORANGE, "-."),
    )
    for name, loss, color, style in losses:
        value, slope = jax.vmap(
            jax.value_and_grad(lambda z, loss=loss: loss(jnp.stack([z, 0.0 * z, 0.0 * z]), jnp.array(0)))
        )(lead)
        left.plot(lead, value, style, color=color, label=name)
        right.plot(lead, slope, style, color=color)
    right.axhline(0, color=GRAY, linewidth=0.8)
    right.axvline(jnp.log(28.0), color=GRAY, linestyle=":", linewidth=1)
    left.set(xlabel="lead of the true score", ylabel="loss", ylim=(0, 8))
    right.set(xlabel="lead of the true score", ylabel="slope of the loss", ylim=(-4, 0.5))
    left.legend(frameon=False)
    return figure
