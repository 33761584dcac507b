"""Figure of dlcore.classic_ml.outlier; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.classic_ml.density import gaussian_log_density, gaussian_mle, kernel_log_density
from dlcore.classic_ml.outlier import auroc, is_outlier, rejection_threshold
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["outlier"]


def outlier() -> "Figure":
    """Regions accepted as inliers (shaded) by two densities of a ring of points.

    The thresholds reject 5 % of the inliers. One Gaussian is most probable in the empty center, so it accepts outliers
    (crosses) there. The kernel density follows the ring. Right: the share of outliers caught at each rate of false
    alarms.
    """
    figure, axes = new_figure((7.4, 2.6), 1, 3)
    rng = np.random.default_rng(0)

    def ring(count: int) -> np.ndarray:
        angle, radius = rng.uniform(0, 2 * np.pi, count), rng.normal(2, 0.25, count)
        return np.c_[radius * np.cos(angle), radius * np.sin(angle)]

    x, held_out, outliers = ring(200), ring(500), rng.uniform(-3.4, 3.4, (200, 2))
    outliers = outliers[np.abs(np.hypot(*outliers.T) - 2) > 0.6]
    gaussian = gaussian_mle(x)
    densities = (
        ("Gaussian", lambda q: gaussian_log_density(q, gaussian), VERMILION, "--"),
        ("kernels", lambda q: kernel_log_density(q, x, 0.25), BLUE, "-"),
    )
    row, column = np.mgrid[-3.4:3.4:90j, -3.4:3.4:90j]
    rates = np.linspace(0, 0.6, 40)
    for ax, (name, density, color, style) in zip(axes, densities, strict=False):
        inside, outside = density(held_out), density(outliers)
        threshold = rejection_threshold(inside, 0.05)
        accepted = ~is_outlier(density(np.c_[column.ravel(), row.ravel()]), threshold)
        ax.contourf(column, row, accepted.reshape(row.shape), levels=[0.5, 1.5], colors=[color], alpha=0.25)
        ax.scatter(*x.T, s=3, color=GRAY)
        ax.scatter(*outliers.T, s=12, marker="x", color="k", linewidth=0.8)
        ax.set(xticks=[], yticks=[], aspect="equal", xlabel=f"{name}: AUROC {auroc(inside, outside):.2f}")
        caught = [is_outlier(outside, rejection_threshold(inside, rate)).mean() for rate in rates]
        axes[2].plot(rates, caught, style, color=color, label=name)
    axes[2].set(xlabel="false alarms", ylabel="outliers caught", ylim=(0, 1.05))
    axes[2].legend(frameon=False, loc="lower right")
    return figure
