"""Figure of dlcore.classic_ml.linear_regression; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.classic_ml.linear_regression import least_squares, momentum_regression
from dlcore.report.figure import BLACK, BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["linear_regression"]


def linear_regression() -> "Figure":
    """Least squares of a polynomial of degree 9 through 15 noisy points of a sine, and the errors of gradient steps.

    Left: without penalty the closed form follows the noise; ridge regression of λ = 0.001 stays near the sine. Right:
    mean squared error, averaged over 100 steps, of steps on single examples of a linear target in 10 dimensions.
    Momentum comes to the error of the closed form sooner.
    """
    figure, (left, right) = new_figure((7, 3), 1, 2)
    rng = np.random.default_rng(0)
    x, grid = np.linspace(-1, 1, 15), np.linspace(-1, 1, 200)
    y = np.sin(3 * x) + 0.2 * rng.normal(size=15)
    powers = np.arange(1, 10)
    left.plot(grid, np.sin(3 * grid), color=GRAY, linestyle="--", label="sine")
    for l2, color in ((0, VERMILION), (1e-3, BLUE)):
        w, b = least_squares(x[:, None] ** powers, y, l2)
        left.plot(grid, grid[:, None] ** powers @ w + b, color=color, label=f"λ = {l2}")
    left.plot(x, y, ".", color=BLACK)
    left.set(xlabel="x", ylabel="y", ylim=(-1.7, 2))
    left.legend(frameon=False)
    x = rng.normal(size=(1000, 10))
    y = x @ rng.normal(size=10) + rng.normal(size=1000)
    w, b = least_squares(x, y)
    for momentum, color in ((0.0, VERMILION), (0.9, BLUE)):
        errors = momentum_regression(x, y, learning_rate=5e-4, momentum=momentum)[2]
        right.plot(np.arange(50, 5000, 100), errors.reshape(-1, 100).mean(1), color=color, label=f"momentum {momentum}")
    right.axhline(np.square(y - x @ w - b).mean(), color=GRAY, linestyle="--", label="closed form")
    right.set(xlabel="step", ylabel="squared error", ylim=(0, None))
    right.legend(frameon=False)
    return figure
