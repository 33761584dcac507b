"""Figure of dlcore.classic_ml.logistic; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.classic_ml.logistic import fit_binary, predict_probability, train
from dlcore.report.figure import BLUE, GREEN, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["logistic"]


def logistic() -> "Figure":
    """Left: logistic regression on one number, with three strengths of the penalty; the classes (ticks) are separable.

    A weak penalty gives a steep curve: without any, the slope would grow without bound. Right: Newton's steps. The
    distance from the final weights falls to rounding in a few steps, later with a weak penalty.
    """
    figure, (left, right) = new_figure((7, 2.9), 1, 2)
    rng = np.random.default_rng(0)
    x = np.r_[rng.uniform(-3, -0.3, 20), rng.uniform(0.3, 3, 20)][:, None]
    target, line = np.repeat([0, 1], 20), np.linspace(-3, 3, 201)[:, None]
    for l2, style, color in ((10.0, ":", GREEN), (0.1, "--", BLUE), (0.001, "-", VERMILION)):
        p = predict_probability(train(x, target, l2=l2, steps=25), line)[:, 1]
        left.plot(line, p, style, color=color, label=f"penalty {l2:g}")
        weights = np.stack(
            [fit_binary(x.astype(np.float32), target.astype(np.float32), l2, steps=n) for n in range(1, 26)]
        )
        right.semilogy(
            range(1, 25),
            np.linalg.norm(weights - weights[-1], axis=1)[:-1] + 1e-7,
            style,
            marker=".",
            color=color,
            label=f"penalty {l2:g}",
        )
    left.plot(x, target, "|", color="k", markersize=7)
    left.set(xlabel="x", ylabel="probability of class 1")
    right.set(xlabel="Newton step", ylabel="distance from the final weights")
    left.legend(frameon=False, loc="lower right", fontsize=8)
    return figure
