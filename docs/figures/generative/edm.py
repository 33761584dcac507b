"""Figure of dlcore.generative.edm; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import numpy as np

from dlcore.generative.edm import EDMSampling, edm_factors, sample_sigmas
from dlcore.report.figure import BLUE, GRAY, GREEN, LIGHT_GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["edm"]


def edm() -> "Figure":
    """The factors around EDM's network at each noise level, and the levels of training and of sampling.

    Left: at little noise c_skip hands the input on, and c_out scales the network's errors down; at much noise the
    network alone gives the example. Right: training draws middle levels (gray). Of the 18 levels of sampling, all but
    one are large with rho = 1; with rho = 7 they cover the whole range.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    sigma = np.geomspace(0.002, 80, 200)
    factors = edm_factors(sigma)
    for name, color, style in (("c_skip", BLUE, "-"), ("c_out", VERMILION, "--"), ("c_in", GREEN, ":")):
        left.plot(sigma, getattr(factors, name), style, color=color, label=name)
    left.axvline(0.5, color=GRAY, linewidth=0.8, label="σ_data")
    left.set(xscale="log", xlabel="noise level σ", ylabel="factor")
    left.legend(frameon=False, loc="upper right")
    drawn = sample_sigmas(jax.random.split(jax.random.key(0), 20_000))
    right.hist(drawn, np.geomspace(0.002, 80, 40), weights=np.full(20_000, 1 / 1000), color=LIGHT_GRAY)
    for row, (rho, color) in enumerate(((1.0, VERMILION), (3.0, GREEN), (7.0, BLUE))):
        right.plot(EDMSampling(rho=rho).sigmas()[:-1], np.full(18, 2.6 + 0.7 * row), "|", color=color, markersize=9)
        right.text(120, 2.6 + 0.7 * row, f"rho = {rho:g}", color=color, va="center", fontsize=9)
    right.set(xscale="log", xlabel="noise level σ", yticks=[], ylabel="density of training", ylim=(0, 4.5))
    return figure
