"""Figure of dlcore.classical_vision.feature_classifier; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.classical_vision.feature_classifier import concatenate, fit_classifier
from dlcore.report.figure import BLUE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["feature_classifier"]


def feature_classifier() -> "Figure":
    """Regions of two classes on two features, the second of which has a thousandfold scale (shown divided by it).

    Left: a linear classifier cannot follow the ring. Middle: a hidden layer of 16 units can. Right: the training
    objective of the linear classifier does not fall, and that of the hidden layer falls within 20 steps. Each feature
    is standardized first, so that its unit does not matter.
    """
    figure, axes = new_figure((7.4, 2.6), 1, 3)
    rng = np.random.default_rng(0)
    angle, label = rng.uniform(0, 2 * np.pi, 200), np.repeat([0, 1], 100)
    radius = np.where(label, 2.0, 0.8) + rng.normal(0, 0.3, 200)
    features = concatenate((radius * np.cos(angle))[:, None], (1000 * radius * np.sin(angle))[:, None])
    row, column = np.mgrid[-3:3:80j, -3:3:80j]
    grid = concatenate(column.reshape(-1, 1), 1000 * row.reshape(-1, 1))
    for ax, hidden, name, style, color in (
        (axes[0], None, "linear", "--", VERMILION),
        (axes[1], 16, "16 hidden units", "-", BLUE),
    ):
        model = fit_classifier(features, label, 2, hidden=hidden, steps=60)
        ax.contourf(
            column,
            row,
            np.asarray(model.predict(grid)).reshape(row.shape),
            levels=[-0.5, 0.5, 1.5],
            colors=[BLUE, VERMILION],
            alpha=0.25,
        )
        for value, dot, marker in ((0, BLUE, "o"), (1, VERMILION, "^")):
            ax.scatter(features[label == value, 0], features[label == value, 1] / 1000, s=6, color=dot, marker=marker)
        ax.set(xticks=[], yticks=[], xlabel=f"{name}: {np.mean(model.predict(features) != label):.0%} errors")
        axes[2].semilogy(model.history, style, color=color, label=name)
    axes[2].set(xlabel="step of L-BFGS", ylabel="objective")
    axes[2].legend(frameon=False)
    return figure
