"""Figure of dlcore.classic_ml.nearest_neighbor; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.classic_ml.nearest_neighbor import predict, predict_for_each_k, train
from dlcore.report.figure import BLUE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["nearest_neighbor"]


def nearest_neighbor() -> "Figure":
    """Regions of two overlapping classes of 60 examples by 1 and by 15 nearest neighbors, and errors for each k.

    With k = 1 the border bends around single examples, and the training examples have no error. With k = 15 the border
    is smooth. The error on 2,000 new examples is lowest at a small k above 1, and rises where the vote reaches into
    the other class.
    """
    figure, axes = new_figure((7.4, 2.6), 1, 3)
    rng = np.random.default_rng(1)

    def sample(count: int) -> tuple[np.ndarray, np.ndarray]:
        angle, label = rng.uniform(0, np.pi, 2 * count), np.repeat([0, 1], count)
        moons = np.c_[np.cos(angle) + label - 0.5, np.sin(angle) * (1 - 2 * label) + 0.25 * (2 * label - 1)]
        return moons + rng.normal(0, 0.38, moons.shape), label

    (x, label), (new, truth) = sample(60), sample(1000)
    row, column = np.mgrid[-2:2:100j, -2.6:2.6:120j]
    for ax, k in zip(axes, (1, 15), strict=False):
        regions = predict(train(x, label, k=k), np.c_[column.ravel(), row.ravel()])
        ax.contourf(
            column, row, regions.reshape(row.shape), levels=[-0.5, 0.5, 1.5], colors=[BLUE, VERMILION], alpha=0.25
        )
        for value, color, marker in ((0, BLUE, "o"), (1, VERMILION, "^")):
            ax.scatter(*x[label == value].T, s=8, color=color, marker=marker)
        ax.set(xticks=[], yticks=[], xlabel=f"k = {k}")
    ks, model = list(range(1, 110, 4)), train(x, label)
    for rows, target, name, style, color in ((x, label, "training", "--", VERMILION), (new, truth, "new", "-", BLUE)):
        axes[2].plot(ks, (predict_for_each_k(model, rows, ks) != target).mean(1), style, color=color, label=name)
    axes[2].set(xlabel="k, neighbors that vote", ylabel="share of errors", ylim=(0, None))
    axes[2].legend(frameon=False)
    return figure
