"""Figure of dlcore.segmentation.mask_losses; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, VERMILION, new_figure
from dlcore.segmentation.mask_losses import PointSampling, important_points

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["mask_losses"]


def mask_losses() -> "Figure":
    """The 200 points at which a predicted mask (gray) is compared with the truth; the line is where it is undecided.

    Left: uniform points. Middle: three quarters are the most uncertain of 600 random ones, so that most lie at the
    border. Right: the share of points less than 3 pixels from the border. With 75 % uncertain points it grows up to 4
    candidates a point; with 25 % it hardly grows.
    """
    figure, (left, middle, right) = new_figure((7.2, 2.6), 1, 3)
    row, column = np.mgrid[:64, :64] + 0.5
    logits = jnp.asarray((20 - np.hypot(row - 32, column - 32)) / 2, jnp.float32)

    def points(ratio, share):
        return 64 * np.asarray(important_points(jax.random.key(0), logits[None], PointSampling(200, ratio, share))[0])

    for ax, sample, name in ((left, points(3.0, 0.0), "uniform"), (middle, points(3.0, 0.75), "uncertain first")):
        ax.imshow(jax.nn.sigmoid(logits), cmap="Greys", vmax=2.5, extent=(0, 64, 64, 0))
        ax.contour(column, row, logits, [0], colors=BLUE, linewidths=1)
        ax.plot(*sample.T, ".", color=VERMILION, markersize=3)
        ax.set(xticks=[], yticks=[], xlabel=name)
    ratios = (1, 2, 3, 4, 6, 8)
    for share, style in ((0.75, "o-"), (0.25, "s--")):
        near = [(np.abs(np.hypot(*(points(float(r), share) - 32).T) - 20) < 3).mean() for r in ratios]
        right.plot(ratios, near, style, color=BLUE, label=f"{share:.0%} uncertain", markersize=4)
    right.set(xlabel="candidates a point", ylabel="share near the border", ylim=(0, 1))
    right.legend(frameon=False, fontsize=8)
    return figure
