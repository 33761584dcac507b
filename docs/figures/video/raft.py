"""Figure of dlcore.video.raft; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, GREEN, VERMILION, new_figure
from dlcore.video.raft import sequence_loss

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["raft"]


def raft() -> "Figure":
    """The loss of RAFT's 12 estimates of a flow. Left: weight of each estimate, from the loss of one error.

    Later estimates count more, but all get a gradient, so the network learns to improve the flow in each step. Right:
    the loss of three ways to reach the true flow, by gamma = 0.8: fast, steady, and late. Being right early pays.
    """
    figure, (left, right) = new_figure((7, 2.6), 1, 2)
    steps, target = np.arange(1, 13), jnp.zeros((1, 4, 4, 2))
    one_error = jnp.eye(12)[:, :, None, None, None, None] * jnp.ones((1, 1, 1, 4, 4, 2))
    for gamma, color, style in ((0.6, VERMILION, "-."), (0.8, BLUE, "-"), (1.0, GREEN, "--")):
        weights = jax.vmap(lambda flows, g=gamma: jnp.mean(sequence_loss(flows, target, None, g)))(one_error)
        left.plot(steps, weights / weights[-1], style, marker="o", markersize=3, color=color, label=f"gamma {gamma}")
    paths = {"fast": 0.5**steps, "steady": 1 - steps / 12, "late": np.where(steps < 12, 1.0, 0.0)}
    for (name, errors), color in zip(paths.items(), (BLUE, GREEN, VERMILION), strict=True):
        flows = jnp.asarray(errors, jnp.float32)[:, None, None, None, None] * jnp.ones((1, 1, 4, 4, 2))
        right.bar(name, float(jnp.mean(sequence_loss(flows, target))), color=color)
    left.set(xlabel="estimate", ylabel="weight")
    right.set(ylabel="loss")
    left.legend(frameon=False)
    return figure
