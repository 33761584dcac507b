"""Figure of dlcore.classic_ml.naive_bayes; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.classic_ml.naive_bayes import predict_log_probability, train
from dlcore.report.figure import BLUE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["naive_bayes"]


def naive_bayes() -> "Figure":
    """Left: naive Bayes on two classes whose two numbers are correlated; its ellipses (two deviations) have no slant.

    So its border, where both classes are equally probable, runs across the classes. Right: one number, and copies of
    it as further inputs. Each copy counts as new evidence, and the probability jumps from 0 to 1 though nothing new is
    known.
    """
    figure, (left, right) = new_figure((7, 2.9), 1, 2)
    rng, label = np.random.default_rng(0), np.repeat([0, 1], 150)
    along, across = rng.normal(0, 1.2, 300), rng.normal(0, 0.25, 300)
    x = np.c_[along + across + 0.5 * label, along - across - 0.5 * label]
    model = train(x, label)
    row, column = np.mgrid[-4:4:120j, -4:4:120j]
    p = np.exp(predict_log_probability(model, np.c_[column.ravel(), row.ravel()])[:, 1]).reshape(row.shape)
    circle = np.stack([np.cos(t := np.linspace(0, 2 * np.pi, 100)), np.sin(t)], 1)
    for value, color, marker in ((0, BLUE, "o"), (1, VERMILION, "^")):
        left.scatter(*x[label == value].T, s=5, color=color, marker=marker, alpha=0.6)
        left.plot(*(model.mean[value] + 2 * np.sqrt(model.variance[value]) * circle).T, color=color)
    left.contour(column, row, p, levels=[0.5], colors="k")
    wrong = np.mean(predict_log_probability(model, x).argmax(1) != label)
    left.set(xlabel=f"x1 ({100 * wrong:.0f} % errors)", ylabel="x2", xlim=(-4, 4), ylim=(-4, 4))
    value = np.r_[rng.normal(-0.7, 1, 500), rng.normal(0.7, 1, 500)][:, None]
    line = np.linspace(-3, 3, 201)[:, None]
    for copies, style in ((1, "-"), (4, "--"), (30, ":")):
        model = train(np.repeat(value, copies, 1), np.repeat([0, 1], 500))
        right.plot(
            line,
            np.exp(predict_log_probability(model, np.repeat(line, copies, 1))[:, 1]),
            style,
            color=BLUE,
            label=f"{copies} x",
        )
    right.set(xlabel="x", ylabel="probability of class 1")
    right.legend(frameon=False, title="inputs")
    return figure
