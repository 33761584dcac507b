"""Figure of dlcore.classic_ml.som; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import numpy as np

from dlcore.classic_ml.som import som as train_map
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["som"]


def som() -> "Figure":
    """A map of 10 x 10 prototypes over 600 points of a square ring, after 1, 8 and 30 epochs.

    Lines join neighbors of the grid. The neighborhood is wide at first, so that the grid contracts near the mean, and
    shrinks while the grid unfolds. Right: with a narrow neighborhood from the start (dashed) the grid stays folded:
    more points have their two nearest prototypes apart on the grid.
    """
    figure, axes = new_figure((7.4, 2.3), 1, 4, width_ratios=(1, 1, 1, 1.3))
    x = np.random.default_rng(0).uniform(-1, 1, (1200, 2))
    x = x[np.abs(x).max(1) > 0.45][:600]
    trained = train_map(jax.random.key(0), x, (10, 10))
    for ax, epochs in zip(axes, (1, 8, 30), strict=False):
        last = 5.0 * (0.5 / 5) ** ((epochs - 1) / 29)  # the same decay of the neighborhood, cut short
        grid = np.asarray(train_map(jax.random.key(0), x, (10, 10), epochs=epochs, sigma=(5.0, last)).prototypes)
        ax.scatter(*x.T, s=2, color=GRAY)
        ax.plot(grid[..., 0], grid[..., 1], color=BLUE, linewidth=0.9)
        ax.plot(grid[..., 0].T, grid[..., 1].T, color=BLUE, linewidth=0.9)
        ax.set(xticks=[], yticks=[], aspect="equal", xlabel=f"epoch {epochs}")
    narrow = train_map(jax.random.key(0), x, (10, 10), sigma=(0.5, 0.5))
    axes[3].plot(trained.topographic, color=BLUE, label="wide first")
    axes[3].plot(narrow.topographic, "--", color=VERMILION, label="narrow")
    axes[3].set(xlabel="epoch", ylabel="topographic error", ylim=(0, 1.3))
    axes[3].legend(frameon=False, fontsize=8)
    return figure
