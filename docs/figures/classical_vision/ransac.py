"""Figure of dlcore.classical_vision.ransac; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.classical_vision.ransac import fit_line, line_residual, ransac_line, required_hypotheses
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ransac"]


def ransac() -> "Figure":
    """Left: 60 points, half of them not on the line. RANSAC (solid) finds the line.

    Least squares (dashed) fits all points and misses it. The inliers of RANSAC are filled. Middle: lines through 200
    random pairs; most are near few points, and some near half of them. Right: samples needed for a confidence of 99 %,
    which explode with the outliers, and the more so the more points a sample has.
    """
    figure, (left, middle, right) = new_figure((7.4, 2.6), 1, 3)
    rng = np.random.default_rng(2)
    x = rng.uniform(0, 10, 60)
    points = jnp.asarray(
        np.c_[x, np.where(np.arange(60) < 30, 0.5 * x + 1 + rng.normal(0, 0.12, 60), rng.uniform(-2, 12, 60))]
    )
    best = ransac_line(jax.random.key(0), points, 0.4)
    ends = np.array([0.0, 10.0])
    for (a, b, c), style, color, name in (
        (np.asarray(fit_line(points)), "--", VERMILION, "least squares"),
        (np.asarray(best.model), "-", BLUE, "RANSAC"),
    ):
        left.plot(ends, -(a * ends + c) / b, style, color=color, label=name)
    left.scatter(
        *points.T,
        s=12,
        c=[BLUE if inlier else "none" for inlier in best.inliers],
        edgecolors=[BLUE if inlier else GRAY for inlier in best.inliers],
    )
    left.set(xlabel="x", ylabel="y", ylim=(-3, 16))
    left.legend(frameon=False, fontsize=8, loc="upper left")
    pairs = jnp.stack([points[rng.choice(60, 2, replace=False)] for _ in range(200)])
    counts = jax.vmap(lambda pair: (line_residual(fit_line(pair), points) < 0.4).sum())(pairs)
    middle.hist(np.asarray(counts), np.arange(2, 36, 2), color=BLUE)
    middle.set(xlabel="points within 0.4 of the line", ylabel="samples of two points")
    ratios = np.linspace(0.2, 0.95, 30)
    for size, name, style in ((2, "2 (line)", "-"), (4, "4 (homography)", "--"), (8, "8 (essential matrix)", ":")):
        right.semilogy(
            100 * (1 - ratios), [required_hypotheses(float(r), size) for r in ratios], style, color=BLUE, label=name
        )
    right.set(xlabel="outliers / %", ylabel="samples needed", ylim=(1, 1e9))
    right.legend(frameon=False, fontsize=8, title="points a sample", title_fontsize=8)
    return figure
