"""Figures of techniques of dlcore.classic_ml: each function is named as its technique; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.classic_ml import kernel_svm as svm
from dlcore.classic_ml.elastic_net import elastic_net as fit_elastic_net
from dlcore.classic_ml.linear_regression import least_squares, momentum_regression
from dlcore.classic_ml.perceptron import binary_perceptron
from dlcore.report.figure import BLACK, BLUE, GRAY, PALETTE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["elastic_net", "kernel_svm", "linear_regression", "perceptron"]


def elastic_net() -> "Figure":
    """Weights of six dimensions over the strength α of the penalty, from 100 noisy examples.

    The target is x1 + x2 - x5 plus noise, and x2 is x1 plus a little noise. As α grows, the lasso sets x1 to 0 and
    keeps x2; the elastic net gives both the same weight. Both set the dimensions without influence (gray) to exactly 0,
    which ridge regression does not.
    """
    figure, axes = new_figure((7, 2.9), 1, 3, sharey=True)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 6))
    x[:, 1] = x[:, 0] + 0.1 * x[:, 1]
    y = x[:, 0] + x[:, 1] - x[:, 4] + rng.normal(size=100)
    alphas = np.geomspace(1e-2, 3, 40)
    colors = [PALETTE[0], PALETTE[1], GRAY, GRAY, PALETTE[2], GRAY]
    for ax, ratio, name in zip(
        axes, (1.0, 0.5, 0.0), ("lasso, ρ = 1", "elastic net, ρ = 0.5", "ridge, ρ = 0"), strict=True
    ):
        paths = np.array([fit_elastic_net(x, y, alpha, ratio)[0] for alpha in alphas])
        for d, color in enumerate(colors):
            ax.plot(alphas, paths[:, d], color=color, label=None if color == GRAY else f"x{d + 1}")
        ax.set(xscale="log", xlabel="strength α")
        ax.set_title(name, fontsize=10)
    axes[0].set_ylabel("weight")
    axes[2].legend(frameon=False)
    return figure


def kernel_svm() -> "Figure":
    """Borders (black) and margins (dashed) of support vector machines on two classes of 100 points each.

    Rings mark the support vectors, the only examples that the border depends on. A linear kernel cannot follow the two
    moons; the Gaussian kernel can, and a high price C of violated margins takes fewer support vectors and a border that
    bends more.
    """
    from sklearn.datasets import make_moons

    figure, axes = new_figure((7, 3), 1, 3, sharey=True)
    x, label = make_moons(200, noise=0.2, random_state=0)
    a, b = np.meshgrid(np.linspace(-1.7, 2.7, 120), np.linspace(-1.3, 1.8, 120))
    for ax, kernel, c in zip(axes, ("linear", "rbf", "rbf"), (1, 1, 1000), strict=True):
        model = svm.train(x, label, kernel=kernel, c=c)
        f = svm.decision(model, np.c_[a.ravel(), b.ravel()]).reshape(a.shape)
        ax.contourf(a, b, f, [-np.inf, 0, np.inf], colors=[BLUE, VERMILION], alpha=0.12)
        ax.contour(a, b, f, [-1, 0, 1], colors=BLACK, linestyles=["--", "-", "--"], linewidths=[0.8, 1.6, 0.8])
        ax.scatter(*x.T, s=8, c=np.where(label, VERMILION, BLUE))
        ax.scatter(*model.rows.T, s=34, facecolors="none", edgecolors=BLACK, linewidths=0.6)
        ax.set(xlabel="x1")
        ax.set_title(f"{kernel}, C = {c}\n{len(model.rows)} support vectors", fontsize=10)
    axes[0].set_ylabel("x2")
    return figure


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
