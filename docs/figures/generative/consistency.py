"""Figure of dlcore.generative.consistency; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.generative.consistency import consistency_sample
from dlcore.generative.edm import EDMSampling, edm_factors, edm_sample
from dlcore.generative.schedules import karras_sigmas
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["consistency"]


def consistency() -> "Figure":
    """One step of an exact consistency model and of an exact denoiser, for numbers near -1 and 1.

    Left: paths of the differential equation from noise to data; the consistency model leads from any of their points to
    the left end. Right: samples of a single step from noise. The denoiser, which is right on average, gives the
    mean of all data; the consistency model gives the data.
    """
    figure, (left, right) = new_figure((7, 2.7), 1, 2)
    centers, width, least = jnp.array([-1.0, 1.0]), 0.15, 0.002
    line = jnp.linspace(-2, 2, 2001)

    def cdf(x, sigma):
        return jax.scipy.stats.norm.cdf((x[..., None] - centers) / jnp.sqrt(width**2 + sigma**2)).mean(-1)

    def denoised(x, sigma):
        variance = width**2 + sigma**2
        weights = jax.nn.softmax(-((x[..., None] - centers) ** 2) / (2 * variance))
        return (weights * (width**2 * x[..., None] + sigma**2 * centers) / variance).sum(-1)

    def network(function, scale, least):
        """Give the output F of a network whose clean example is that of the function."""

        def output(x, t):
            sigma = jnp.exp(4 * t / scale)
            factors = edm_factors(sigma, 0.5, least)
            x = x / factors.c_in
            return (function(x, sigma) - factors.c_skip * x) / factors.c_out

        return output

    end = network(lambda x, sigma: jnp.interp(cdf(x, sigma), cdf(line, 0), line), 1000, least)
    middle = network(denoised, 1, 0.0)
    sigmas = np.asarray(karras_sigmas(120, least, 10.0))
    starts = 10 * jax.scipy.stats.norm.ppf(jnp.linspace(0.06, 0.94, 14))
    _, path = edm_sample(middle, starts, sigmas, return_trajectory=True)
    left.plot(sigmas, path / np.sqrt(1 + sigmas[:, None] ** 2), color=GRAY, linewidth=1)
    left.set(xscale="log", xlabel="noise level σ", ylabel="x / $\\sqrt{1 + σ²}$")
    x = 10 * jax.random.normal(jax.random.key(0), (4000,))
    bins = np.linspace(-1.7, 1.7, 69)
    right.hist(
        edm_sample(middle, x, np.array([10.0, 0.0]), edm_sampling=EDMSampling("euler")),
        bins,
        histtype="step",
        color=VERMILION,
        label="denoiser",
    )
    sample = consistency_sample(end, x, lambda k: x, np.array([10.0, least]), clip_sample=False)
    right.hist(sample, bins, color=BLUE, alpha=0.6, label="consistency model")
    right.set(xlabel="sample of one step", ylabel="samples", ylim=(0, 1100))
    right.legend(frameon=False)
    return figure
