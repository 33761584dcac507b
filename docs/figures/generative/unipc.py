"""Figure of dlcore.generative.unipc; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.generative.dpm_solver import dpmpp_sample
from dlcore.generative.samplers import ddim_sample
from dlcore.generative.schedules import alphas_cumprod, linear_betas, sampling_grid, timesteps
from dlcore.generative.unipc import unipc_sample
from dlcore.report.figure import BLACK, BLUE, GREEN, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["unipc"]


def unipc() -> "Figure":
    """Paths of 16 steps on the noise levels of Karras et al., for numbers near -1 and 1 and the exact network.

    Left: two starts and the solution of 500 steps (black). DDIM goes on straight and leaves it where it bends; UniPC
    corrects each step once it knows the next output, without a further call. Right: mean error of 64 starts over the
    number of calls.
    """
    figure, (left, right) = new_figure((7, 2.9), 1, 2)
    abar = alphas_cumprod(linear_betas(1000))
    log_sigma = jnp.asarray(np.log(1 / abar - 1) / 2, jnp.float32)
    centers, width = jnp.array([-1.0, 1.0]), 0.4

    def denoise(x, t):
        a = 1 / (1 + jnp.exp(2 * jnp.interp(t, jnp.arange(1000), log_sigma)))
        variance = a * width**2 + 1 - a
        offset = x[..., None] - jnp.sqrt(a) * centers
        return jnp.sqrt(1 - a) * (jax.nn.softmax(-(offset**2) / (2 * variance)) * offset / variance).sum(-1)

    def draw(sample, x, count):
        grid = sampling_grid(abar, timesteps(1000, count, "linspace"), sigmas="karras")
        path = sample(denoise, x, jnp.zeros_like, grid, clip_sample=False, return_trajectory=True)[1]
        return np.sqrt(1 / grid.alphas_cumprod[:-1] - 1), path

    x = jax.random.normal(jax.random.key(0), (64,)).at[:2].set(jnp.array([0.25, -0.6]))
    levels, exact = draw(dpmpp_sample, x, 500)
    left.plot(levels, exact[:-1, :2], color=BLACK, linewidth=1, label=["exact", None])
    counts = (5, 8, 12, 20, 32)
    solvers = ((ddim_sample, VERMILION, "s", "DDIM"), (dpmpp_sample, GREEN, "^", "DPM-Solver++"))
    for sample, color, mark, name in (*solvers, (unipc_sample, BLUE, "o", "UniPC")):
        errors = [float(jnp.abs(draw(sample, x, count)[1][-1] - exact[-1]).mean()) for count in counts]
        right.plot(counts, errors, f"{mark}-", color=color, markersize=4, label=name)
        if sample is not dpmpp_sample:
            levels, path = draw(sample, x, 16)
            left.plot(levels, path[:-1, :2], f"{mark}--", color=color, markersize=4, linewidth=1, label=[name, None])
    left.set(xlabel="noise level σ", ylabel="x", xscale="log", xlim=(200, 0.008))
    right.set(xlabel="calls of the network", ylabel="mean |error|", xscale="log", yscale="log", xticks=counts)
    right.set_xticklabels(counts)
    right.minorticks_off()
    left.legend(frameon=False)
    right.legend(frameon=False)
    return figure
