"""Figure of dlcore.transfer.multi_task; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np
import optax

from dlcore.report.figure import BLUE, GRAY, new_figure
from dlcore.transfer.multi_task import HeadsNet, learner
from experiments.figure_parts import Perceptron, embedded_digits, learning_curves

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["multi_task"]


def multi_task() -> "Figure":
    """Two tasks on digits, learned alone (gray) and together on one trunk (blue); accuracy on other images.

    Left: the ten classes from only 20 labels; the other task's 800 images teach the trunk too, and the accuracy rises
    from 72 to 78 percent. Right: that other task, five pairs of classes from 800 labels, hardly changes. Each batch has
    as many images of either task.
    """
    figure, axes = new_figure((7, 2.7), 1, 2, sharey=True)
    images, labels = embedded_digits()
    tasks = {"digits": labels, "pairs": (labels + 1) % 10 // 2}

    def rows(task: str, index: np.ndarray) -> dict[str, np.ndarray]:
        return {"image": images[index], "label": tasks[task][index], "index": index}

    batch = {"digits": rows("digits", np.resize(np.arange(20), 800)), "pairs": rows("pairs", np.arange(800))}
    rest = {task: rows(task, np.arange(1000, 1797)) for task in tasks}
    for weights, color, style in (((1, 0), GRAY, "--"), ((0, 1), GRAY, "--"), ((1, 1), BLUE, "-")):
        model = HeadsNet(Perceptron(32), (("digits", 10), ("pairs", 5)))
        factors = dict(zip(tasks, weights, strict=True))
        train = learner(model=model, optimizer=optax.adam(3e-3), weights=factors)
        curves = learning_curves(train, batch, rest, 150)[1]
        for ax, (task, weight) in zip(axes, factors.items(), strict=True):
            if weight:
                label = "together" if sum(weights) > 1 else "alone"
                ax.plot(100 * curves[f"rest/accuracy/{task}"], style, color=color, label=label)
    for ax, title in zip(axes, ("ten digits, 20 labels", "five pairs, 800 labels"), strict=True):
        ax.set(xlabel="update")
        ax.set_title(title, fontsize=9)
    axes[0].set(ylabel="accuracy / %")
    axes[1].legend(frameon=False, fontsize=8)
    return figure
