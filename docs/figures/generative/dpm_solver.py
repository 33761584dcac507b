"""Figure of dlcore.generative.dpm_solver; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.generative.dpm_solver import dpmpp_sample
from dlcore.generative.samplers import ddim_sample
from dlcore.generative.schedules import alphas_cumprod, linear_betas, sampling_grid, timesteps
from dlcore.report.figure import BLUE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["dpm_solver"]


def dpm_solver() -> "Figure":
    """Samples of N(0.5, 0.2²) from the exact noise predictor, by DDIM and by DPM-Solver++ (2M), from 64 starts.

    The differential equation has a closed solution here. The curves are the mean distance from it over the number of
    evaluations of the network, on the noise levels of Karras et al.: the second-order solver needs fewer for the same
    error.
    """
    figure, ax = new_figure((7, 3))
    mean, deviation = 0.5, 0.2
    abar = alphas_cumprod(linear_betas(1000))
    log_sigma = jnp.asarray(np.log(1 / abar - 1) / 2)

    def denoise(x, t):
        a = 1 / (1 + jnp.exp(2 * jnp.interp(t, jnp.arange(1000), log_sigma)))
        return jnp.sqrt(1 - a) * (x - jnp.sqrt(a) * mean) / (a * deviation**2 + 1 - a)

    x = jnp.asarray(np.random.default_rng(0).normal(size=64), jnp.float32)
    exact = mean + deviation * (x - abar[-1] ** 0.5 * mean) / (abar[-1] * deviation**2 + 1 - abar[-1]) ** 0.5
    counts = (4, 8, 16, 32, 64)
    for sample, color, name in ((ddim_sample, VERMILION, "DDIM"), (dpmpp_sample, BLUE, "DPM-Solver++ (2M)")):
        errors = []
        for count in counts:
            grid = sampling_grid(abar, timesteps(1000, count, "linspace"), sigmas="karras")
            errors.append(float(jnp.abs(sample(denoise, x, jnp.zeros_like, grid, clip_sample=False) - exact).mean()))
        ax.plot(counts, errors, "o-", color=color, label=name)
    ax.set(xlabel="evaluations", ylabel="mean |error|", xscale="log", yscale="log", xticks=counts, xticklabels=counts)
    ax.minorticks_off()
    ax.legend(frameon=False)
    return figure
