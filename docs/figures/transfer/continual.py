"""Figure of dlcore.transfer.continual; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure
from dlcore.transfer.continual import Recipe, TaskData, forgetting, learn_in_turn
from experiments.figure_parts import Perceptron, embedded_digits

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["continual"]


def continual() -> "Figure":
    """Five tasks of two digits each, learned in turn, with nothing known of the task of an image.

    Left and middle: accuracy on each task (column) after each was learned (row). Plain training keeps the newest alone;
    replay of ten stored images a class keeps them all. Right: accuracy on the first task; elastic weight consolidation
    (EWC) slows the loss, but ends at 0 too.
    """
    figure, axes = new_figure((7.2, 2.6), 1, 3, width_ratios=(1, 1, 1.3))
    images, labels = embedded_digits()
    train, test = TaskData(images[:1200], labels[:1200]), TaskData(images[1200:], labels[1200:])
    recipe = Recipe(steps=100, batch_size=32, learning_rate=3e-3, buffer=10, fisher_size=200)
    net, ticks = Perceptron(10, 64, 1), range(1, 6)
    for strategy, color, style in (("naive", GRAY, "o--"), ("replay", BLUE, "^-"), ("ewc", VERMILION, "s-.")):
        table = 100 * learn_in_turn(net, train, test, scenario="class", strategy=strategy, recipe=recipe)[0]
        axes[2].plot(ticks, table[:, 0], style, color=color, label=strategy)
        if strategy != "ewc":
            ax = axes[int(strategy == "replay")]
            ax.imshow(table, cmap="Blues", vmin=0, vmax=160, extent=(0.5, 5.5, 5.5, 0.5))
            for i, j in zip(*np.tril_indices(5), strict=True):
                ax.text(j + 1, i + 1, f"{table[i, j]:.0f}", ha="center", va="center", fontsize=8)
            ax.set_title(f"{strategy}, forgets {100 * forgetting(table / 100):.0f}%", fontsize=9)
            ax.set(xticks=ticks, yticks=ticks, xlabel="measured on task", ylabel="after task")
    axes[2].set(xlabel="after task", ylabel="accuracy on task 1 / %", xticks=ticks)
    axes[2].legend(frameon=False, fontsize=8)
    return figure
