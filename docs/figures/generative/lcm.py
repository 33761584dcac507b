"""Figure of dlcore.generative.lcm; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.generative.lcm import lcm_sample, lcm_timesteps
from dlcore.generative.schedules import alphas_cumprod, linear_betas, sampling_grid
from dlcore.report.figure import BLACK, BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["lcm"]


def lcm() -> "Figure":
    """Timesteps of 1 to 8 steps, and the samples of a network whose first answer is too near to the mean.

    Left: the steps are some of the 50 of distillation (gray). Right: numbers near -1 and 1 (black). The network
    mixes the end of the path with 0.4 of the mean of the data that x may be. From pure noise this is wrong; each
    further step starts nearer to the data, and 4 steps repair most of it.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    left.plot(lcm_timesteps(1000, 50), np.full(50, 0.4), "|", color=GRAY)
    for row, count in enumerate((1, 2, 4, 8), 1):
        left.plot(lcm_timesteps(1000, count), np.full(count, row), "o", color=VERMILION if count == 1 else BLUE)
    left.set(xlabel="timestep", yticks=[1, 2, 3, 4], yticklabels=[1, 2, 4, 8], ylabel="steps", ylim=(0, 4.5))
    abar = alphas_cumprod(linear_betas(1000))
    levels, centers, width = jnp.asarray(abar, jnp.float32), jnp.array([-1.0, 1.0]), 0.15
    line = jnp.linspace(-2, 2, 2001)

    def cdf(x, a):
        deviation = jnp.sqrt(a * width**2 + 1 - a)
        return jax.scipy.stats.norm.cdf((x[..., None] - jnp.sqrt(a) * centers) / deviation).mean(-1)

    def network(x, t):
        a = levels[t]
        variance, offset = a * width**2 + 1 - a, x[..., None] - jnp.sqrt(a) * centers
        weights = jax.nn.softmax(-(offset**2) / (2 * variance))
        mean = (weights * (centers + jnp.sqrt(a) * width**2 / variance * offset)).sum(-1)
        return 0.6 * jnp.interp(cdf(x, a), cdf(line, 1.0), line) + 0.4 * mean

    noise = lambda k: jax.random.normal(jax.random.fold_in(jax.random.key(0), k), (8000,))  # noqa: E731
    for count, color, style in ((1, VERMILION, "--"), (4, BLUE, "-")):
        grid = sampling_grid(abar, lcm_timesteps(1000, count))
        sample = lcm_sample(network, noise(99), noise, grid, prediction="sample")
        label = f"{count} step{'s' * (count > 1)}"
        right.hist(sample, line[::25], density=True, histtype="step", color=color, linestyle=style, label=label)
    right.plot(line, jnp.gradient(cdf(line, 1.0), line), color=BLACK, linewidth=1, label="data")
    right.set(xlabel="sample", ylabel="density", ylim=(0, 3.2))
    right.legend(frameon=False, loc="upper center", ncols=3)
    return figure
