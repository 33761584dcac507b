"""Figure of dlcore.optim.power_ema; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import numpy as np

from dlcore.optim.power_ema import posthoc_weights, power_decay, power_exponent
from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["power_ema"]


def power_ema() -> "Figure":
    """Left: how much each of 1000 steps counts in averages of three widths.

    The weight of a step is its share (1 - beta) times the later betas. Right: an average of width 0.1 that nobody
    tracked, put together afterwards from stored averages of widths 0.05 and 0.25 at eight steps: the sum (dashed)
    nearly covers the true profile.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)

    def profile(exponent, last):
        steps = np.arange(1, last + 1)
        beta = np.asarray(jax.vmap(lambda step: power_decay(step, exponent))(steps), np.float64)
        later = np.append(np.cumprod(beta[::-1])[::-1][1:], 1.0)
        return np.pad((1 - beta) * later, (0, 1000 - last))

    for width, color, style in ((0.05, VERMILION, "--"), (0.1, BLUE, "-"), (0.2, GREEN, "-.")):
        left.plot(profile(power_exponent(width), 1000), style, color=color, label=f"width {width:g}")
    left.set(xlabel="step", ylabel="weight in the average")
    left.legend(frameon=False)
    target = power_exponent(0.1)
    stored = [(step, power_exponent(width)) for step in range(125, 1001, 125) for width in (0.05, 0.25)]
    weights = posthoc_weights([s for s, _ in stored], [g for _, g in stored], 1000, target)
    total = sum(w * profile(g, s) for w, (s, g) in zip(weights, stored, strict=True))
    right.plot(profile(target, 1000), color=GRAY, linewidth=4, alpha=0.5, label="true average")
    right.plot(total, "--", color=VERMILION, label="put together")
    right.set(xlabel="step", ylabel="weight in the average")
    right.legend(frameon=False)
    return figure
