"""Figure of dlcore.semi_supervised.label_propagation; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.report.figure import BLACK, BLUE, LIGHT_GRAY, VERMILION, new_figure
from dlcore.semi_supervised.label_propagation import UNLABELED, propagate
from experiments.figure_parts import two_moons

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["label_propagation"]


def label_propagation() -> "Figure":
    """Two labels (crosses) spread over 240 points, after 3 and after 1000 steps.

    Left: at first the labels stop at a straight border. Middle: they have followed the moons, and 99 % are right.
    Right: the accuracy by gamma. With a small one all points are neighbors, hardly better than the nearest label (red);
    with a large one the chains between points break.
    """
    figure, axes = new_figure((7, 2.5), 1, 3)
    points, classes = two_moons(240)
    points = points.reshape(-1, 2)
    known = np.array([np.flatnonzero(classes == c)[0] for c in (0, 1)])
    labels = np.full(240, UNLABELED)
    labels[known] = classes[known]
    colors = np.array([BLUE, VERMILION, LIGHT_GRAY])
    for ax, steps in zip(axes, (3, 1000), strict=False):
        graph = propagate(points, labels, gamma=40.0, max_steps=steps, tolerance=1e-4)
        reached = graph.distributions.sum(1) > 0.0
        ax.scatter(*points.T, s=6, c=colors[np.where(reached, graph.labels, 2)])
        ax.scatter(*points[known].T, marker="X", s=60, c=colors[:2], edgecolors=BLACK)
        ax.set(xlabel="x1", ylabel="x2")
        ax.set_title(f"{graph.steps} steps", fontsize=9)
    gammas = np.geomspace(1, 1000, 13)
    right = [100 * (propagate(points, labels, gamma=g, tolerance=1e-4).labels == classes).mean() for g in gammas]
    nearest = np.square(points[:, None] - points[known]).sum(-1).argmin(1)
    axes[2].plot(gammas, right, "o-", color=BLUE, markersize=3, label="propagation")
    axes[2].axhline(100 * (nearest == classes).mean(), linestyle="--", color=VERMILION, label="nearest label")
    axes[2].set(xlabel="gamma", ylabel="accuracy (%)", xscale="log", ylim=(40, 103))
    axes[2].legend(frameon=False, fontsize=8)
    return figure
