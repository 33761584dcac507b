"""Figure of dlcore.classic_ml.elastic_net; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.classic_ml.elastic_net import elastic_net as fit_elastic_net
from dlcore.report.figure import GRAY, PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["elastic_net"]


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
