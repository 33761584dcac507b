"""Figure of dlcore.classic_ml.kmeans; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import numpy as np

from dlcore.classic_ml.kmeans import kmeans_plus_plus, lloyd
from dlcore.report.figure import BLACK, PALETTE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["kmeans"]


def kmeans() -> "Figure":
    """Paths of four centers (from circle to cross) in k-means on four groups, from two starts.

    From the bad start two centers share a group for ever, and one center serves two groups. Right: the sum of squared
    distances never rises, but it ends higher.
    """
    figure, axes = new_figure((7.4, 2.6), 1, 3)
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(c, 0.55, (60, 2)) for c in ((-3, -1.5), (-3, 1.5), (3, -1.5), (3, 1.5))])
    starts = {
        "bad start": x[[0, 5, 60, 130]] + [[0, -0.5], [0, 0.4], [0, 0], [0, 1.5]],
        "k-means++": kmeans_plus_plus(jax.random.key(1), x, 4),
    }
    for ax, (name, start), style, color in zip(
        axes, starts.items(), ("--", "-"), (VERMILION, PALETTE[0]), strict=False
    ):
        paths = np.stack([start, *(lloyd(x, start, max_iterations=n).centers for n in range(1, 9))])
        result = lloyd(x, start)
        ax.scatter(*x.T, s=4, c=[PALETTE[2 + n] for n in result.labels], alpha=0.6)
        for path in np.swapaxes(paths, 0, 1):
            ax.plot(*path.T, "-", color=BLACK, linewidth=1)
            ax.plot(*path[0], "o", color=BLACK, fillstyle="none")
            ax.plot(*path[-1], "X", color=BLACK)
        ax.set(xticks=[], yticks=[], xlabel=name)
        axes[2].plot(result.history[:12], style, marker=".", color=color, label=name)
    axes[2].set(xlabel="iteration", ylabel="sum of squared distances", ylim=(0, 560))
    axes[2].legend(frameon=False)
    return figure
