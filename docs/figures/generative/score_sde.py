"""Figure of dlcore.generative.score_sde; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.generative.score_sde import SDE, score_sample
from dlcore.report.figure import BLUE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["score_sde"]


def score_sde() -> "Figure":
    """The same starts brought back to data by the reverse equation and by the probability flow, with the exact score.

    Gray: density of the numbers (near -1.5 and 1) with the noise of each time, which is data at t = 0. Both equations
    follow it. Paths of the stochastic one wander, and a start may end anywhere; those of the flow are smooth, do not
    cross, and are decided by the start.
    """
    figure, axes = new_figure((7.2, 2.8), 1, 2, sharey=True)
    equation, centers, width = SDE(), jnp.array([-1.5, 1.0]), 0.2

    def log_density(x, t):
        signal, spread = equation.marginal(t)
        variance = signal**2 * width**2 + spread**2
        return jax.nn.logsumexp(-((x[..., None] - signal * centers) ** 2) / (2 * variance), -1) - jnp.log(variance) / 2

    score = jax.grad(lambda x, t: log_density(x, t).sum())
    times, line = jnp.linspace(0.001, 1, 100), jnp.linspace(-3, 3, 200)
    density = jax.vmap(lambda t: jnp.exp(log_density(line, t)))(times).T
    starts = jnp.linspace(-1.8, 1.8, 9)
    panels = ((True, "reverse equation", VERMILION), (False, "probability flow", BLUE))
    for ax, (stochastic, name, color) in zip(axes, panels, strict=True):
        ax.pcolormesh(times, line, jnp.minimum(density, 1.2), cmap="Greys", alpha=0.7, rasterized=True)
        _, path = score_sample(
            score,
            starts,
            lambda k: jax.random.normal(jax.random.fold_in(jax.random.key(1), k), (9,)),
            equation,
            num_steps=200,
            stochastic=stochastic,
            return_trajectory=True,
        )
        ax.plot(np.linspace(1, 0.001, 201), path, color=color, linewidth=0.9)
        ax.set(xlabel="time t", xlim=(1, 0))
        ax.set_title(name, fontsize=10)
    axes[0].set_ylabel("x")
    return figure
