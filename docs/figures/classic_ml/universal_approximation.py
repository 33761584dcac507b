"""Figure of dlcore.classic_ml.universal_approximation; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.classic_ml.universal_approximation import network, staircase, step_pair, sup_error
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["universal_approximation"]


def universal_approximation() -> "Figure":
    """Left: two sigmoids make a bump, the sharper the steeper they are.

    Middle: networks of 10 and of 40 bumps follow a curve. Right: the largest error falls in proportion to the number
    of bumps on a continuous function, and never below half of the jump on one that jumps: the theorem needs
    continuity.
    """
    figure, (left, middle, right) = new_figure((7.4, 2.6), 1, 3)
    x = np.linspace(0, 1, 801)
    for steepness, style in ((15, ":"), (40, "--"), (200, "-")):
        left.plot(x, network(step_pair(0.3, 0.7, 1.0, steepness), x), style, color=BLUE, label=f"{steepness}")
    left.set(xlabel="x", ylabel="output", ylim=(0, 1.7))
    left.legend(frameon=False, title="steepness", ncols=3, fontsize=8, handlelength=1.2, columnspacing=0.8)
    wave = lambda x: np.sin(2 * np.pi * x) + 0.4 * np.cos(6 * np.pi * x)  # noqa: E731
    middle.plot(x, wave(x), color=GRAY, linewidth=3, alpha=0.6, label="function")
    for steps, style, color in ((10, "--", VERMILION), (40, "-", BLUE)):
        middle.plot(
            x, network(staircase(wave, 0, 1, steps), x), style, color=color, linewidth=1, label=f"{steps} bumps"
        )
    middle.set(xlabel="x", ylabel="output", ylim=(-1.6, 2.4))
    middle.legend(frameon=False, fontsize=8, loc="upper right")
    counts = (5, 10, 20, 40, 80, 160, 320)
    for function, name, style, color in (
        (wave, "continuous", "o-", BLUE),
        (lambda x: (x > 0.437) * 1.0, "jump of 1", "s--", VERMILION),
    ):
        right.loglog(
            counts,
            [sup_error(function, staircase(function, 0, 1, n), 0, 1) for n in counts],
            style,
            color=color,
            markersize=4,
            label=name,
        )
    right.set(xlabel="bumps", ylabel="largest error")
    right.legend(frameon=False, fontsize=8)
    return figure
