"""Figure of dlcore.ops.fractional_pooling; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import numpy as np

from dlcore.ops.fractional_pooling import fractional_max_pool, fractional_starts
from dlcore.report.figure import BLUE, GREEN, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["fractional_pooling"]


def fractional_pooling() -> "Figure":
    """Left: windows of 2 pixels that cover 18 pixels by 13 outputs, for three random shifts.

    The steps are 1 or 2 pixels, so some windows overlap, and where they do changes with every draw; that is a mild
    augmentation. Right: the side of a map of 64 pixels after each pooling. Fractional ratios shrink it gently, so there
    is room for more layers before one pixel remains.
    """
    figure, (left, right) = new_figure((7, 2.6), 1, 2, width_ratios=(1.3, 1))
    for row, (shift, color) in enumerate(((0.1, BLUE), (0.45, VERMILION), (0.8, GREEN))):
        starts = np.asarray(fractional_starts(shift, 18, 13))
        for number, start in enumerate(starts):
            left.plot([start + 0.1, start + 1.9], [row + 0.3 * (number % 2)] * 2, color=color, linewidth=4)
    left.set(xlabel="position / pixels", xticks=range(0, 19, 2), ylim=(-0.5, 2.8))
    left.set_yticks([0.15, 1.15, 2.15], ["shift 0.1", "shift 0.45", "shift 0.8"])
    left.grid(axis="x", alpha=0.4)
    for ratio, color, style in ((2.0, VERMILION, "s--"), (2**0.5, BLUE, "o-"), (1.25, GREEN, "^-.")):
        x, sides = jax.ShapeDtypeStruct((64, 64, 1), np.float32), [64]
        while sides[-1] > 2:
            x = jax.eval_shape(lambda x, r=ratio: fractional_max_pool(jax.random.key(0), x, r), x)
            sides.append(x.shape[0])
        right.semilogy(sides, style, color=color, markersize=4, label=f"ratio {ratio:.3g}")
    right.set(xlabel="poolings", ylabel="side / pixels")
    right.set_yticks([1, 2, 4, 8, 16, 32, 64], ["1", "2", "4", "8", "16", "32", "64"])
    right.minorticks_off()
    right.legend(frameon=False)
    return figure
