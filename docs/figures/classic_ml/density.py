"""Figure of dlcore.classic_ml.density; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.classic_ml.density import Prior, gaussian_log_density, gaussian_map, gaussian_mle, kernel_log_density
from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["density"]


def density() -> "Figure":
    """Left: densities of 60 points (ticks) by one Gaussian and by kernels of two widths.

    The Gaussian covers the gap between both groups, and narrow kernels make a peak of every point. Middle: new points
    are most likely at a middle width. Right: a Gaussian fitted to few points of a normal distribution. A prior keeps
    the deviation from falling toward 0 for two points.
    """
    figure, (left, middle, right) = new_figure((7.4, 2.6), 1, 3)
    rng = np.random.default_rng(0)
    x, new = (
        np.where(rng.random((n, 1)) < 0.6, rng.normal(-2, 0.5, (n, 1)), rng.normal(1.5, 0.9, (n, 1)))
        for n in (60, 1000)
    )
    line = np.linspace(-5, 5, 300)[:, None]
    left.plot(line, np.exp(gaussian_log_density(line, gaussian_mle(x))), color=GRAY, label="Gaussian")
    for width, style, color in ((0.08, ":", VERMILION), (0.4, "-", BLUE)):
        left.plot(line, np.exp(kernel_log_density(line, x, width)), style, color=color, label=f"width {width}")
    left.plot(x, np.full_like(x, -0.03), "|", color="k", markersize=5)
    left.set(xlabel="x", ylabel="density", ylim=(-0.06, 0.95))
    left.legend(frameon=False, fontsize=8, loc="upper right")
    widths = np.geomspace(0.03, 3, 15)
    for points, name, style, color in ((x, "the 60 points", "--", VERMILION), (new, "new points", "-", BLUE)):
        middle.semilogx(
            widths, [kernel_log_density(points, x, w).mean() for w in widths], style, color=color, label=name
        )
    middle.set(xlabel="width of a kernel", ylabel="mean log-density", ylim=(-4, 0))
    middle.legend(frameon=False, fontsize=8, loc="upper right")
    counts, prior = (2, 3, 5, 10, 20, 50), Prior(np.zeros(1), 1.0, np.full((1, 1), 4.0), 3.0)
    for name, fit, style, color in (
        ("likelihood", gaussian_mle, "--", VERMILION),
        ("with a prior", lambda s: gaussian_map(s, prior), "-", GREEN),
    ):
        samples = [np.random.default_rng(n).normal(size=(100, n, 1)) for n in counts]
        deviations = [[np.sqrt(fit(s).covariance[0, 0]) for s in sample] for sample in samples]
        for percent, label in ((10, name), (90, None)):
            right.plot(np.percentile(deviations, percent, axis=1), style, color=color, label=label)
    right.set(xlabel="points", ylabel="deviation, 10th and 90th %", xticks=range(len(counts)), xticklabels=counts)
    right.legend(frameon=False, fontsize=8, loc="lower right")
    return figure
