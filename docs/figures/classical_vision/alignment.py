"""Figure of dlcore.classical_vision.alignment; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.classical_vision.alignment import fit_similarity
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["alignment"]


def alignment() -> "Figure":
    """Left: a shape (gray), the same turned, doubled and noisy (circles), and the fitted map of the first (line).

    Middle: three points displaced far pull the least-squares fit away (dashed); with weight 0 for them it is right
    (solid). Right: the error of the angle falls with the root of the number of points; with outliers it is about ten
    times as large.
    """
    figure, (left, middle, right) = new_figure((7.4, 2.6), 1, 3)
    rng, angle = np.random.default_rng(0), 0.7
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    t = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    shape = np.c_[np.cos(t) * (1 + 0.5 * np.cos(3 * t)), 0.7 * np.sin(t)]
    target = 2 * shape @ turn.T + [3, 1] + rng.normal(0, 0.12, shape.shape)
    broken = target + 4 * (np.arange(24)[:, None] < 3) * [[-1, 1]]
    left.plot(*shape.T, ".", color=GRAY)
    fits = (
        (left, target, None, "-", BLUE),
        (middle, broken, None, "--", VERMILION),
        (middle, broken, 1.0 * (np.arange(24) >= 3), "-", BLUE),
    )
    for ax, points, weights, style, color in fits:
        fitted = np.asarray(fit_similarity(shape, points, weights).apply(shape))
        ax.plot(*points.T, "o", color="k", fillstyle="none", markersize=4)
        ax.plot(*np.r_[fitted, fitted[:1]].T, style, color=color)
    for ax in (left, middle):
        ax.set(xlabel="x", ylabel="y", aspect="equal")
    counts = (4, 8, 16, 32, 64, 128, 256)
    for share, name, style, color in ((0.0, "noise", "o-", BLUE), (0.2, "and 20 % outliers", "s--", VERMILION)):
        errors = []
        for count in counts:
            trials = []
            for _ in range(15):
                x = rng.normal(size=(count, 2))
                y = (
                    2 * x @ turn.T
                    + rng.normal(0, 0.2, x.shape)
                    + 4 * rng.normal(size=x.shape) * (rng.random((count, 1)) < share)
                )
                r = np.asarray(fit_similarity(x, y).rotation)
                trials.append(np.degrees(np.arctan2(r[1, 0], r[0, 0]) - angle))
            errors.append(np.sqrt(np.mean(np.square(trials))))
        right.loglog(counts, errors, style, color=color, markersize=4, label=name)
    right.set(xlabel="points", ylabel="error of the angle / degrees")
    right.legend(frameon=False, fontsize=8)
    return figure
