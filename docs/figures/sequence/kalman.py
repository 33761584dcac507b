"""Figure of dlcore.sequence.kalman; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure
from dlcore.sequence.kalman import constant_velocity, kalman_filter, kalman_smoother

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["kalman"]


def kalman() -> "Figure":
    """A moving point, observed with noise (gray crosses): positions by the Kalman filter and by the smoother.

    Left: the filter knows the past alone; the smoother also knows what comes later, so its path is nearer to the
    truth (black). Right: the deviation that each states for its position. The filter starts unsure and settles after
    a few steps; the smoother is surer in the middle, where it has observations on both sides.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    model = constant_velocity(0.15, 1.0)
    steps = np.arange(40)
    truth = np.stack([steps * 0.5, 4 * np.sin(steps / 8)], -1)
    observations = jnp.asarray(truth + np.random.default_rng(1).normal(size=truth.shape), jnp.float32)
    filtered = kalman_filter(model, observations)
    mean, covariance = kalman_smoother(model, filtered)
    left.plot(*np.asarray(observations).T, "x", color=GRAY, markersize=4)
    left.plot(*truth.T, color="black", linewidth=1, label="truth")
    for name, m, c, color, style in (
        ("filter", filtered.mean, filtered.covariance, VERMILION, "-."),
        ("smoother", mean, covariance, BLUE, "-"),
    ):
        position = np.asarray(m) @ np.asarray(model.emission).T
        variance = np.einsum("ij,tjk,ik->ti", np.asarray(model.emission), np.asarray(c), np.asarray(model.emission))
        left.plot(*position.T, style, color=color, label=name)
        right.plot(steps, np.sqrt(variance[:, 0]), style, color=color, label=name)
    left.set(xlabel="x", ylabel="y")
    right.set(xlabel="step", ylabel="stated deviation", ylim=(0, 1.1))
    for ax in (left, right):
        ax.legend(frameon=False)
    return figure
