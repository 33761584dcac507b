"""Figure of dlcore.generative.latent_diffusion; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.generative.latent_diffusion import latent_scale
from dlcore.generative.schedules import alphas_cumprod, scaled_linear_betas
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["latent_diffusion"]


def latent_diffusion() -> "Figure":
    """Latents of a deviation of 5, as they come from an autoencoder and divided by their own scale.

    Left: their values beside the noise N(0, 1) (gray). Right: the share of the variance of x_t that is signal at each
    timestep. Without the scale nearly half of the schedule leaves the image plain, and the last timestep is not noise
    alone, from which sampling starts.
    """
    figure, (left, right) = new_figure((7, 2.7), 1, 2)
    rng = np.random.default_rng(0)
    mean, logvar = 5 * rng.normal(size=(64, 8, 8, 4)), np.full((64, 8, 8, 4), -2.0)
    scale, bins = latent_scale(mean, logvar), np.linspace(-15, 15, 91)
    latents = (mean + np.exp(logvar / 2) * rng.normal(size=mean.shape)).ravel()
    abar = alphas_cumprod(scaled_linear_betas(1000))
    left.hist(rng.normal(size=latents.size), bins, density=True, color=GRAY, alpha=0.5, label="noise")
    for factor, color, style, name in ((1.0, VERMILION, "--", "as they are"), (1 / scale, BLUE, "-", "scaled")):
        values = factor * latents
        left.hist(values, bins, density=True, histtype="step", color=color, linestyle=style, label=name)
        signal = abar * values.var()
        right.plot(signal / (signal + 1 - abar), style, color=color, label=name)
    left.set(xlabel="value of a latent", ylabel="density")
    right.set(xlabel="timestep", ylabel="share of the signal", ylim=(0, 1.05))
    left.legend(frameon=False)
    right.legend(frameon=False, loc="lower left")
    return figure
