"""Figure of dlcore.self_supervised.swav; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure
from dlcore.self_supervised.prototypes import sinkhorn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["swav"]


def swav() -> "Figure":
    """Assignments of 60 crops to 6 prototypes, before and after Sinkhorn's iterations.

    Left: scores of features that all lie near two prototypes; the softmax (gray) gives nearly everything to these
    two, and a network that learns from it collapses. Sinkhorn's three iterations (blue) share the crops among all
    prototypes. Right: how far the shares of the prototypes are from equal ones, by the number of iterations.
    """
    figure, (left, right) = new_figure((7, 2.7), 1, 2)
    scores = 0.25 * jax.random.normal(jax.random.key(0), (60, 6)) + jnp.array([0.5, 0.45, 0, 0, 0, 0])
    softmax, balanced = jax.nn.softmax(scores / 0.05), sinkhorn(scores, 0.05, 3)
    x = np.arange(6)
    left.bar(x - 0.2, softmax.sum(0), 0.38, color=GRAY, label="softmax")
    left.bar(x + 0.2, balanced.sum(0), 0.38, color=BLUE, label="Sinkhorn")
    left.axhline(10, color=VERMILION, linestyle="--", linewidth=0.8)
    left.set(xlabel="prototype", ylabel="crops", xticks=x)
    gaps = [float(jnp.abs(sinkhorn(scores, 0.05, n).sum(0) - 10).max()) for n in range(1, 11)]
    right.plot(np.arange(1, 11), gaps, "o-", color=BLUE)
    right.set(xlabel="iterations", ylabel="largest gap to 10 crops", yscale="log")
    left.legend(frameon=False)
    return figure
