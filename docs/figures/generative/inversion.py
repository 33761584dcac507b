"""Figure of dlcore.generative.inversion; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.generative.inversion import ddim_invert
from dlcore.generative.samplers import ddim_sample
from dlcore.generative.schedules import alphas_cumprod, linear_betas, sampling_grid, timesteps
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["inversion"]


def inversion() -> "Figure":
    """Examples carried to their noise by DDIM inversion, and back by DDIM, with the exact network of two clusters.

    Left: the way there (solid) and back (dashed) in 10 steps. Each step of the way there asks the network at the place
    where it starts instead of the one where it ends, so the ways part. Right: the mean distance of what comes back
    falls with the number of steps.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    abar = jnp.asarray(alphas_cumprod(linear_betas(1000)), jnp.float32)
    centers, width = jnp.array([-1.0, 1.0]), 0.2

    def denoise(x, t):
        a = abar[t.astype(jnp.int32)]
        variance = a * width**2 + 1 - a
        offset = x[..., None] - jnp.sqrt(a) * centers
        return jnp.sqrt(1 - a) * (jax.nn.softmax(-(offset**2) / (2 * variance)) * offset / variance).sum(-1)

    x, counts, errors = jnp.array([-1.3, -1.05, -0.8, 0.7, 0.9, 1.2]), (5, 10, 20, 50, 100, 200), []
    for count in counts:
        grid = sampling_grid(np.asarray(abar), timesteps(1000, count, "trailing"))
        grid = grid._replace(alphas_cumprod=np.append(grid.alphas_cumprod[:-1], float(abar[0])))
        noise, there = ddim_invert(denoise, x, grid, return_trajectory=True)
        again, back = ddim_sample(denoise, noise, jnp.zeros_like, grid, clip_sample=False, return_trajectory=True)
        errors.append(float(jnp.abs(again - x).mean()))
        if count == 10:
            steps = np.arange(count + 1)
            left.plot(steps, there, color=BLUE, linewidth=1.2, label=["there"] + 5 * [None])
            left.plot(count - steps, back, "--", color=VERMILION, linewidth=1.2, label=["back"] + 5 * [None])
    left.plot(0 * x, x, "o", color=GRAY, markersize=4)
    left.set(xlabel="steps from the example", ylabel="x")
    left.legend(frameon=False, loc="center", bbox_to_anchor=(0.5, 0.5), ncols=2)
    right.plot(counts, errors, "o-", color=VERMILION)
    right.set(xlabel="steps", ylabel="mean |error|", xscale="log", yscale="log", xticks=counts, xticklabels=counts)
    right.minorticks_off()
    return figure
