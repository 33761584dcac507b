"""Figure of dlcore.classic_ml.perceptron; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.classic_ml.perceptron import binary_perceptron
from dlcore.report.figure import BLACK, BLUE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["perceptron"]


def perceptron() -> "Figure":
    """Borders of a perceptron after 1 to 20 passes over 60 examples, and its mistakes in each pass.

    Left: the classes are separable, and the border stays after the first pass without a mistake, though it may be close
    to some examples. Right: the same classes moved together, so that no line separates them, bring mistakes for ever.
    """
    figure, (left, right) = new_figure((7, 3), 1, 2)
    rng = np.random.default_rng(0)
    sign = np.repeat([-1, 1], 30)
    noise = np.c_[0.5 * rng.normal(size=(60, 2)), np.ones(60)]  # a last 1 for the bias
    x, close = (noise + [2, 1, 0] + distance * sign[:, None] * [1, 1, 0] for distance in (0.95, 0.4))
    order = rng.permutation(60)
    line = np.array([-0.5, 4.5])
    for epochs, alpha in ((1, 0.2), (3, 0.4), (20, 1)):
        w = binary_perceptron(x[order], sign[order], epochs=epochs)[0]
        left.plot(line, -(w[0] * line + w[2]) / w[1], color=BLACK, alpha=alpha, label=f"after pass {epochs}")
    left.scatter(*x[:, :2].T, s=10, c=np.where(sign > 0, VERMILION, BLUE))
    left.set(xlabel="x1", ylabel="x2", ylim=(-2, 4))
    left.legend(frameon=False)
    for rows, color, name in ((x, BLUE, "separable"), (close, VERMILION, "not separable")):
        mistakes = binary_perceptron(rows[order], sign[order], epochs=20)[1]
        right.plot(np.arange(1, 21), mistakes, ".-", color=color, label=name)
    right.set(xlabel="pass", ylabel="mistakes", xticks=[1, 5, 10, 15, 20])
    right.legend(frameon=False)
    return figure
