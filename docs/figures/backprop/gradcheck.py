"""Figure of dlcore.backprop.gradcheck; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.backprop.gradcheck import numerical_gradient
from dlcore.diagnostics.gradient_check import relative_error
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["gradcheck"]


def gradcheck() -> "Figure":
    """Errors of slopes measured by a step h, on a smooth function and beside a kink.

    Left: a central difference is off by the square of h, a one-sided one by h; below the best step rounding takes over.
    Right: slopes of ReLU at x = 0.001. A step longer than x crosses the kink, and the central slope falls from 1 toward
    1/2.
    """
    figure, (left, right) = new_figure((7.2, 2.8), 1, 2)
    x, steps, kink = np.linspace(0.1, 1.3, 20), np.logspace(-10, -0.5, 39), np.array([1e-3])
    for centered, name, color, style in ((True, "centered", BLUE, "-"), (False, "one-sided", VERMILION, "--")):
        smooth = [numerical_gradient(lambda x: np.sin(x).sum(), x, h, centered) for h in steps]
        left.loglog(steps, [relative_error(np.cos(x), slope) for slope in smooth], style, color=color, label=name)
        bent = [numerical_gradient(lambda x: np.maximum(x, 0).sum(), kink, h, centered)[0] for h in steps]
        right.semilogx(steps, bent, style, color=color, label=name)
    left.axvline(1e-5, color=GRAY, linestyle=":", linewidth=0.8)
    right.axvline(1e-3, color=GRAY, linestyle=":", linewidth=0.8)
    left.set(xlabel="step h", ylabel="relative error")
    right.set(xlabel="step h", ylabel="measured slope", ylim=(0, 1.2))
    for ax in (left, right):
        ax.legend(frameon=False, fontsize=8)
    return figure
