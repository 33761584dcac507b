"""Figure of dlcore.transfer.active; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from dlcore.report.figure import BLACK, BLUE, GRAY, VERMILION, new_figure
from dlcore.transfer.active import buy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["active"]


def active() -> "Figure":
    """Twelve labels that three strategies buy (blue), where three examples are labeled (crosses).

    Random choice follows the density. The margin buys where the two most probable classes are close, between the
    groups, and so also two of the three outliers. The core set ignores the classifier: it takes the example farthest
    from all labeled ones, covers the data, and buys all three outliers.
    """
    figure, axes = new_figure((7, 2.6), 1, 3, sharex=True, sharey=True)
    centers = jnp.array([[-1.5, -0.5], [1.5, -0.5], [0, 1.5]])
    points = (centers[:, None] + 0.6 * jax.random.normal(jax.random.key(0), (3, 80, 2))).reshape(-1, 2)
    points = jnp.concatenate([points, jnp.array([[3.6, 2.4], [-3.4, 2.2], [3.4, -2.6]])])
    labeled = jnp.zeros(243, bool).at[jnp.array([0, 80, 160])].set(True)
    p = jax.nn.softmax(-jnp.square(points[:, None] - centers).sum(-1))
    for ax, strategy in zip(axes, ("random", "margin", "core_set"), strict=True):
        bought = buy(strategy, jax.random.key(1), labeled, 12, p, points) & ~labeled
        ax.plot(*points.T, ".", color=GRAY, markersize=3)
        ax.plot(*points[bought].T, "o", color=BLUE, markersize=5)
        ax.plot(*points[labeled].T, "X", color=VERMILION, markersize=8, markeredgecolor=BLACK)
        ax.set(xlabel="feature 1")
        ax.set_title(strategy.replace("_", " "), fontsize=9)
    axes[0].set(ylabel="feature 2")
    return figure
