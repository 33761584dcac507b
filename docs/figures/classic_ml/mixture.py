"""Figure of dlcore.classic_ml.mixture; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.classic_ml.mixture import bic, fit_mixture, start_from
from dlcore.report.figure import BLUE, GRAY, PALETTE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["mixture"]


def mixture() -> "Figure":
    """Left: a mixture of three Gaussians after 0, 5 and 100 iterations of EM on 300 points.

    The ellipses are two deviations wide. The components begin as equal circles in one group, and turn into the slanted
    groups. Middle: the log-likelihood never falls. Right: the criterion BIC is smallest at three components, the true
    number; more of them fit noise.
    """
    figure, (left, middle, right) = new_figure((7.4, 2.6), 1, 3)
    rng, shear = np.random.default_rng(0), np.array([[1.2, 0.0], [0.9, 0.35]])
    x = np.concatenate(
        [rng.normal(size=(100, 2)) @ shear.T * s + c for s, c in ((1, (-2, 1)), (-0.7, (2, 2.5)), (0.8, (1.5, -1.5)))]
    )
    x[100:200, 0] = 4 - x[100:200, 0]
    starts = {k: start_from(x[rng.permutation(300)[:k]], 1.0) for k in range(1, 7)}
    circle = 2 * np.stack([np.cos(t := np.linspace(0, 2 * np.pi, 80)), np.sin(t)], 1)
    left.scatter(*x.T, s=3, color=GRAY)
    for iterations, style, color in ((0, ":", VERMILION), (5, "--", PALETTE[2]), (100, "-", BLUE)):
        mixture = fit_mixture(x, starts[3], iterations=iterations).mixture if iterations else starts[3]
        for number, (mean, covariance) in enumerate(zip(mixture.means, mixture.covariances, strict=True)):
            ellipse = mean + circle @ np.linalg.cholesky(np.asarray(covariance)).T
            left.plot(*np.asarray(ellipse).T, style, color=color, label=None if number else f"{iterations}")
    left.set(xlabel="x1", ylabel="x2", xlim=(-6, 12))
    left.legend(frameon=False, fontsize=7.5, loc="upper right")
    fits = {k: fit_mixture(x, start) for k, start in starts.items()}
    middle.plot(fits[3].log_likelihood[:40], color=BLUE)
    middle.set(xlabel="iteration", ylabel="mean log-likelihood")
    right.plot(list(fits), [bic(x, fit.mixture) for fit in fits.values()], "o-", color=BLUE, markersize=4)
    right.set(xlabel="components", ylabel="BIC (smaller is better)")
    return figure
