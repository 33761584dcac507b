"""Figure of dlcore.optim.line_search; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.optim.line_search import armijo_backtracking, strong_wolfe
from dlcore.report.figure import BLUE, GRAY, GREEN, LIGHT_GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["line_search"]


def line_search() -> "Figure":
    """The value along a direction, and what two searches choose after a long or a short first trial (cross).

    Below the dashed line a step has enough decrease (c1 = 0.1); shaded is where the slope is flat too (c2 = 0.3), as
    the strong Wolfe conditions ask. Backtracking (circle) halves a trial until it is below the line, and keeps a short
    one. The Wolfe search (square) goes on to a shaded part.
    """
    figure, axes = new_figure((7, 2.8), 1, 2, sharey=True)
    alpha = np.linspace(0, 4, 401)

    def phi(a):
        return 0.3 * (a - 2) ** 2 + 0.2 * np.cos(3 * a)

    def slope(a):
        return 0.6 * (a - 2) - 0.6 * np.sin(3 * a)

    line = phi(0) + 0.1 * slope(0) * alpha
    good = (phi(alpha) <= line) & (np.abs(slope(alpha)) <= 0.3 * abs(slope(0)))
    for ax, first in zip(axes, (3.9, 0.15), strict=True):
        ax.fill_between(alpha, -0.3, 1.6, where=good, color=LIGHT_GRAY, alpha=0.4, linewidth=0)
        ax.plot(alpha, phi(alpha), color=GRAY)
        ax.plot(alpha, line, "--", color=GREEN, linewidth=1)
        ax.plot(first, phi(first), "x", color="black", markersize=8)
        short = armijo_backtracking(phi, phi(0), slope(0), first=first, c1=0.1)
        wolfe = strong_wolfe(lambda a: (phi(a), slope(a)), phi(0), slope(0), first=first, c1=0.1, c2=0.3)
        ax.plot(short, phi(short), "o", color=VERMILION, label="backtracking")
        ax.plot(wolfe, phi(wolfe), "s", color=BLUE, label="strong Wolfe")
        ax.set(xlabel="step length", xlim=(-0.1, 4.1), ylim=(-0.3, 1.6))
        ax.set_title(f"first trial {first:g}", fontsize=9)
    axes[0].set_ylabel("value")
    axes[1].legend(frameon=False, fontsize=8, loc="upper center")
    return figure
