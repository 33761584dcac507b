"""Figure of dlcore.generative.schedules; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.generative.schedules import (
    SCHEDULES,
    alphas_cumprod,
    karras_sigmas,
    rescale_zero_terminal_snr,
    scaled_linear_betas,
)
from dlcore.report.figure import BLUE, GRAY, LIGHT_GRAY, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["schedules"]


def schedules() -> "Figure":
    """How much of the image is left at each time, how a schedule ends, and which noise levels a sampler visits.

    Left: in the last fifth (gray) the linear schedule leaves almost nothing to learn; the cosine schedule falls slowly.
    Middle: the scaled linear schedule stops with 7 percent of the image; the rescaled one ends at 0. Right: of 12
    steps, Karras's spacing puts five below noise 1, and even spacing one.
    """
    figure, (left, middle, right) = new_figure((7.2, 2.7), 1, 3)
    t = np.arange(1000)
    left.axvspan(800, 1000, color=LIGHT_GRAY, alpha=0.4, linewidth=0)
    for name, color, style in (("linear", GRAY, "--"), ("cosine", BLUE, "-")):
        left.plot(t, alphas_cumprod(SCHEDULES[name](1000)), style, color=color, label=name)
    left.set(xlabel="timestep", ylabel="share of the image's variance")
    betas = scaled_linear_betas(1000)
    for name, schedule, color, style in (
        ("scaled linear", betas, GRAY, "--"),
        ("rescaled", rescale_zero_terminal_snr(betas), BLUE, "-"),
    ):
        middle.plot(t[800:], np.sqrt(alphas_cumprod(schedule))[800:], style, color=color, label=name)
    middle.set(xlabel="timestep", ylabel="factor of the image", ylim=(0, None))
    steps = np.arange(1, 13)
    right.plot(steps, np.linspace(80, 0.002, 12), "s--", color=GRAY, markersize=3, label="even")
    right.plot(steps, karras_sigmas(12), "o-", color=BLUE, markersize=3, label="Karras")
    right.set(xlabel="step", ylabel="noise level", yscale="log")
    for ax in (left, middle, right):
        ax.legend(frameon=False, fontsize=8)
    return figure
