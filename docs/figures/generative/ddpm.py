"""Figure of dlcore.generative.ddpm; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.generative.ddpm import diffuse, min_snr_weight
from dlcore.generative.schedules import alphas_cumprod, linear_betas
from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ddpm"]


def ddpm() -> "Figure":
    """The forward process on points of a spiral, and what the best network cannot know at each timestep.

    Left: the points at t < 20, near 100 and near 900. Right: squared error of the exact prediction of the noise (the
    posterior mean over all points). At late timesteps the noise is nearly all there is, and easy to tell; at early ones
    more than half of it is unknown, as many points may be meant. Gray: the min-SNR weight, small at early timesteps.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    abar = jnp.asarray(alphas_cumprod(linear_betas(1000)), jnp.float32)
    angle = jnp.linspace(1, 10, 400)
    spiral = angle[:, None] * jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1) / 6
    x = jnp.tile(spiral, (10, 1))
    t, noisy, noise = jax.jit(diffuse)(jax.random.split(jax.random.key(0), len(x)), x, abar)
    for least, most, color, mark in ((880, 920, GRAY, "s"), (80, 120, GREEN, "^"), (0, 20, BLUE, "o")):
        rows = np.flatnonzero((t >= least) & (t < most))[:120]
        left.plot(*noisy[rows].T, mark, color=color, markersize=3, label=f"t = {least} to {most}")
    left.set(xlabel="x1", ylabel="x2", aspect="equal", xlim=(-2.6, 5.4))
    left.legend(frameon=False, loc="center right", fontsize=8)
    signal, spread = jnp.sqrt(abar[t])[:, None], jnp.sqrt(1 - abar[t])[:, None]
    squares = jnp.square(noisy[:, None] - signal[:, None] * spiral).sum(-1)
    guess = jax.nn.softmax(-squares / (2 * spread**2)) @ spiral
    errors = np.asarray(jnp.square((noisy - signal * guess) / spread - noise).mean(-1))
    bins = np.arange(0, 1001, 50)
    means = np.histogram(t, bins, weights=errors)[0] / np.histogram(t, bins)[0]
    right.plot(bins[:-1] + 25, means, "o-", color=VERMILION, markersize=4, label="error of the best network")
    right.plot(min_snr_weight(abar), "--", color=GRAY, label="min-SNR weight")
    right.set(xlabel="timestep t", ylabel="squared error, weight", ylim=(0, 1.5))
    right.legend(frameon=False)
    return figure
