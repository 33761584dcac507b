"""Figure of dlcore.classic_ml.linear; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.classic_ml.linear import hinge_loss, logistic_loss, softmax_loss, squared_hinge_loss
from dlcore.report.figure import PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["linear"]


def linear() -> "Figure":
    """The four losses of a linear classifier of three classes, by the score of the true class; the others are 0.

    Right: their gradients by that score. The hinge is zero, with its gradient, beyond a margin of 1, and softmax never
    is. The logistic loss and the squared hinge take each class by itself, so that the other scores of 0 cost a
    constant.
    """
    figure, (left, right) = new_figure((7, 2.9), 1, 2)
    score = np.linspace(-3, 3, 301)
    s = jnp.asarray(np.c_[score, np.zeros((301, 2))])
    label = jnp.zeros(301, int)
    losses = (
        ("softmax", softmax_loss, "-"),
        ("logistic", logistic_loss, "--"),
        ("hinge", hinge_loss, "-."),
        ("squared hinge", squared_hinge_loss, ":"),
    )
    for (name, loss, style), color in zip(losses, PALETTE, strict=False):
        value, gradient = loss(s, label)
        left.plot(score, value, style, color=color, label=name)
        right.plot(score, gradient[:, 0], style, color=color, label=name)
    left.set(xlabel="score of the true class", ylabel="loss", ylim=(0, 12))
    right.set(xlabel="score of the true class", ylabel="gradient by this score", ylim=(-5, 0.3))
    left.legend(frameon=False)
    return figure
