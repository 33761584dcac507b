"""Figure of dlcore.generative.tcd; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.generative.lcm import lcm_timesteps
from dlcore.generative.schedules import alphas_cumprod, linear_betas, sampling_grid
from dlcore.generative.tcd import tcd_sample
from dlcore.report.figure import PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["tcd"]


def tcd() -> "Figure":
    """Twelve samples of 6 steps from one and the same noise, for numbers near -1 and 1, at three eta.

    The network gives the end of the exact path, as a consistency model does. Each step jumps to a time below the next
    and adds noise up to it. At eta = 0 it adds none, and all samples agree; a larger eta adds more, and at
    eta = 1 paths change the cluster in late steps too.
    """
    figure, axes = new_figure((7.2, 2.6), 1, 3, sharey=True)
    abar = alphas_cumprod(linear_betas(1000))
    levels, centers, width = jnp.asarray(abar, jnp.float32), jnp.array([-1.0, 1.0]), 0.15
    line = jnp.linspace(-2, 2, 2001)

    def cdf(x, a):
        deviation = jnp.sqrt(a * width**2 + 1 - a)
        return jax.scipy.stats.norm.cdf((x[..., None] - jnp.sqrt(a) * centers) / deviation).mean(-1)

    def network(x, t):
        return jnp.interp(cdf(x, levels[t]), cdf(line, 1.0), line)

    grid = sampling_grid(abar, lcm_timesteps(1000, 6))
    noise = lambda k: jax.random.normal(jax.random.fold_in(jax.random.key(3), k), (12,))  # noqa: E731
    for ax, eta, color in zip(axes, (0.0, 0.3, 1.0), PALETTE, strict=False):
        x = jnp.full(12, 0.1)
        _, path = tcd_sample(network, x, noise, grid, prediction="sample", eta=eta, return_trajectory=True)
        ax.plot(np.asarray(path), ".-", color=color, linewidth=0.9)
        ax.set(xlabel="step")
        ax.set_title(f"eta = {eta:g}", fontsize=10)
    axes[0].set_ylabel("x")
    return figure
