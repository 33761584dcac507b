"""Figure of dlcore.rl.model_based; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, VERMILION, new_figure
from dlcore.rl.model_based import cross_entropy_method

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["model_based"]


def model_based() -> "Figure":
    """The cross-entropy method on a function with many hills; brighter is higher, and the star is the top.

    Left: where the mean of the population is after 0 to 4 iterations. Right: how far it is from the top, for 20 seeds
    and two sizes of the population. Each iteration samples around the mean, and takes the mean and deviation of the
    best tenth. Few samples get stuck on a hill beside the top.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    top = jnp.array([0.45, -0.35])

    def score(x):
        return -4 * jnp.square(x - top).sum(-1) + 0.5 * jnp.cos(12 * (x - top)).sum(-1)

    axis = jnp.linspace(-1, 1, 101)
    left.contourf(axis, axis, score(jnp.stack(jnp.meshgrid(axis, axis), -1)), 20, cmap="Greys_r")

    def path(key, population):
        means = [jnp.array([-0.8, 0.8])]
        for n in range(1, 5):
            options = {"population": population, "num_elites": population // 10, "iterations": n}
            means.append(cross_entropy_method(score, key, means[0], **options))
        return jnp.stack(means)

    left.plot(*np.asarray(path(jax.random.key(0), 100)).T, "o-", color=VERMILION, markersize=4)
    left.plot(*np.asarray(top), "*", color=BLUE, markersize=10)
    for population, color, style in ((20, VERMILION, "-."), (200, BLUE, "-")):
        paths = jax.vmap(lambda key, p=population: path(key, p))(jax.random.split(jax.random.key(1), 20))
        distances = jnp.linalg.norm(paths - top, axis=-1).mean(0)
        right.plot(np.arange(5), distances, style, color=color, label=f"population {population}")
    left.set(xlabel="first action", ylabel="second action")
    right.set(xlabel="iterations", ylabel="distance to the top", ylim=(0, None))
    right.legend(frameon=False)
    return figure
